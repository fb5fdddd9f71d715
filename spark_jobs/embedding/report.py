"""The run summary."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.ledger import EMBEDDED, EMPTY, QUARANTINED
from schemas.plan import CHANGE_WORDS
from spark_jobs.embedding.accounting import ACCOUNTED, estimate_line
from spark_jobs.embedding.slicing import Work
from spark_jobs.embedding.tally import InferenceSummary, Tally
from spark_jobs.runtime.report import render_lines
from spark_jobs.store.ledger import LedgerSummary
from udfs.quantization import are_widened
from udfs.specs import InferenceSpec

# The share of values that the ranges of 100 texts leave out, fewer than a space measures. Above it, the library is no
# longer what was measured.
MAX_CLIPPED = 0.02
_STATUSES = (EMBEDDED, EMPTY, QUARANTINED)
_COUNTED = (
    "chunks",
    "chunks_embedded",
    "chunks_failed",
    "chunks_taken",
    "chunks_unread",
    "tokens_embedded",
    "tokens_kept",
    "tokens_saved",
    "tokens_taken",
    "tokens_unknown",
    "slices",
)
# Of a folder whose files are parsed.
_OF_FILES = ("files", "files_read", "files_parsed", "files_reused", "files_gone", "bytes_read")
# A few chunks of symbols or foreign names are no reason to doubt a model.
_MAX_UNREAD = 0.01


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
        notes: Further lines, as pairs of label and text: how int8 fits, and warnings.
    """

    run_id: str
    how: str
    vectors: str
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    inference: InferenceSummary
    notes: tuple[tuple[str, str], ...] = ()

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
        tokens = n["tokens_embedded"] + n["tokens_saved"]
        # Of chunks that another space has cut, nobody has counted the unknown ones again.
        cut = tokens - n["tokens_taken"]
        unknown = f" · {n['tokens_unknown'] / cut:.1%} unknown to the model" if n["tokens_unknown"] else ""
        taken = f" · {n['chunks_taken']:,} taken from the active space" if n["chunks_taken"] else ""
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
                f"{truncated}{taken}",
            ),
            (
                "tokens",
                f"{n['tokens_embedded']:,} embedded · {n['tokens_saved']:,} saved"
                + (f" · {rate:,.0f}/s" if rate else "")
                + unknown,
            ),
            *([("forecast", line)] if (line := estimate_line(n)) else []),
            *([("inference", line)] if (line := self.inference.line()) else []),
            *self.notes,
            ("seconds", f"{sum(self.seconds.values()):.0f}: {steps}"),
            ("table", self.vectors),
            ("look", f"SELECT doc_id, chunk_index, token_count, text FROM {self.vectors} LIMIT 5"),
        ]


def summarise(
    inference: InferenceSpec, vectors: str, work: Work, tally: Tally, ledger: LedgerSummary, run_id: str = ""
) -> RunReport:
    """Adds up a run.

    Args:
        inference: The model.
        vectors: Quoted name of the vectors table.
        work: What the run had to do.
        tally: What it did.
        ledger: What the ledger contains now.
        run_id: The run.

    Returns:
        The summary.
    """
    committed = {name: tally.counts[name] for name in _COUNTED}
    counts = {
        **work.documents,
        **{f"library_{status}": ledger.statuses.get(status, 0) for status in _STATUSES},
        "library_chunks": ledger.chunks,
        **committed,
        "chunks_reused": committed["chunks"] - committed["chunks_embedded"],
        "truncated": ledger.truncated,
    }
    counts.update({name: tally.counts[name] for name in (*ACCOUNTED, *_OF_FILES) if name in tally.counts})
    notes: list[tuple[str, str]] = files_notes(counts)
    if inference.model.precision == "int8":
        counts["values_clipped"] = tally.counts["values_clipped"]
        notes += int8_notes(counts, inference)
    if warning := unread_warning(counts):
        notes.append(("warning", warning))
    return RunReport(run_id, work.how, vectors, counts, dict(tally.seconds), tally.inference, tuple(notes))


def files_notes(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Renders what a run read of a folder whose files are parsed; nothing for other sources."""
    if "files" not in counts:
        return []
    read, parsed, reused, gone, size = (counts.get(name, 0) for name in _OF_FILES[1:])
    parts = [f"{counts['files']:,} in the folder", f"{read:,} read ({size / 1e6:,.1f} MB)"]
    if read:
        parts.append(f"{parsed:,} parsed · {reused:,} known by their content")
    return [("files", " · ".join([*parts, *([f"{gone:,} gone"] if gone else [])]))]


def unread_warning(counts: Mapping[str, int]) -> str:
    """Warns about a library that the model can hardly read; empty if it can, by the counts of its chunks."""
    cut = counts["chunks"] - counts["chunks_taken"]
    if counts["chunks_unread"] <= _MAX_UNREAD * cut:
        return ""
    return (
        f"the model can hardly read {counts['chunks_unread']:,} of {cut:,} chunks: a fifth or more of "
        "their characters are not in its vocabulary, so different texts get equal vectors. Use a model for their "
        "language."
    )


def int8_notes(counts: Mapping[str, int], inference: InferenceSpec) -> list[tuple[str, str]]:
    """Renders how well the ranges of an int8 space fit the texts of a run.

    Args:
        counts: Counts of the run: values_clipped, chunks_embedded, chunks_failed.
        inference: The model and the ranges of the space.

    Returns:
        Pairs of label and text: the share of values that were clipped, and a warning with its remedy if it is high.
    """
    values = (counts["chunks_embedded"] - counts["chunks_failed"]) * inference.model.dimension
    share = counts["values_clipped"] / values if values else 0.0
    widened = inference.ranges is not None and are_widened(inference.ranges)
    notes = [
        (
            "int8",
            f"{share:.2%} of values clipped · ranges {'widened' if widened else 'measured'} at the space's first run; "
            "a rebuild has its own and stores other bytes",
        )
    ]
    if share > MAX_CLIPPED:
        warning = (
            f"{share:.1%} of this run's values lie outside the space's int8 ranges, so search is less exact. Embed the "
            "library into a new space by the setting `space`, which measures them anew."
        )
        notes.append(("warning", warning))
    return notes
