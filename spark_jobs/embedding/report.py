"""The run summary."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.ledger import EMBEDDED, EMPTY, QUARANTINED
from schemas.plan import CHANGE_WORDS
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.slicing import Work
from spark_jobs.embedding.tally import InferenceSummary, Tally
from spark_jobs.runtime.report import render_lines
from spark_jobs.store.ledger import LedgerSummary

_STATUSES = (EMBEDDED, EMPTY, QUARANTINED)
_COUNTED = ("chunks", "chunks_embedded", "chunks_failed", "tokens_embedded", "tokens_saved", "slices")


@dataclass(frozen=True)
class RunReport:
    """What a run did; print it for the run summary.

    Attributes:
        run_id: Library, space and number of the run, joined by dots.
        how: How the plan was made, in words.
        vectors: Quoted name of the vectors table.
        counts: Documents by change (added ...) and by status (library_embedded ...), chunks and tokens.
        seconds: Wall-clock seconds by step.
        inference: What the model was given and how long it took.
    """

    run_id: str
    how: str
    vectors: str
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    inference: InferenceSummary

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        return render_lines(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the summary as pairs of label and text."""
        n = self.counts
        changes = " · ".join(f"{n[change]:,} {words}" for change, words in CHANGE_WORDS.items())
        library = " · ".join(f"{n[f'library_{status}']:,} {status}" for status in _STATUSES)
        chunks = n["chunks"]
        truncated = f"{n['truncated'] / chunks:.1%} truncated" if chunks else "none to embed"
        rate = n["tokens_embedded"] / self.seconds["embed"] if self.seconds.get("embed") else 0
        steps = " · ".join(f"{step} {value:.1f}" for step, value in self.seconds.items())
        return [
            ("run", self.run_id),
            ("plan", self.how),
            ("documents", changes),
            ("library", f"{library} · {n['library_chunks']:,} chunks"),
            (
                "chunks",
                f"{chunks:,} in this run · {n['chunks_embedded']:,} embedded · {n['chunks_reused']:,} reused · "
                f"{truncated}",
            ),
            (
                "tokens",
                f"{n['tokens_embedded']:,} embedded · {n['tokens_saved']:,} saved"
                + (f" · {rate:,.0f}/s" if rate else ""),
            ),
            *([("inference", line)] if (line := self.inference.line()) else []),
            ("seconds", f"{sum(self.seconds.values()):.0f}: {steps}"),
            ("table", self.vectors),
            ("look", f"SELECT doc_id, chunk_index, token_count, text FROM {self.vectors} LIMIT 5"),
        ]


def summarise(run: Run, work: Work, tally: Tally, ledger: LedgerSummary) -> RunReport:
    """Adds up a run: what it had to do, what it did, and what the ledger contains now."""
    committed = {name: tally.counts[name] for name in _COUNTED}
    counts = {
        **work.documents,
        **{f"library_{status}": ledger.statuses.get(status, 0) for status in _STATUSES},
        "library_chunks": ledger.chunks,
        **committed,
        "chunks_reused": committed["chunks"] - committed["chunks_embedded"],
        "truncated": ledger.truncated,
    }
    return RunReport(run.run_id, work.how, run.tables.name("vectors"), counts, dict(tally.seconds), tally.inference)
