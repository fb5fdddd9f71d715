"""What a person reads at the end of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from schemas.ledger import EMBEDDED
from schemas.ledger import EMPTY
from schemas.ledger import QUARANTINED
from schemas.plan import CHANGE_WORDS
from spark_jobs.store.ledger import LedgerSummary
from spark_jobs.embedding.slicing import Work
from spark_jobs.runtime.progress import Progress
from spark_jobs.embedding.run import Run
from dataclasses import field
from typing import Any
from pyspark.sql import Column
from pyspark.sql import functions as F
from schemas.worker_rows import NAMES
from schemas.worker_rows import PEAKS
from schemas.worker_rows import SUMS

_STATUSES = (EMBEDDED, EMPTY, QUARANTINED)
_COUNTED = ("chunks", "chunks_embedded", "chunks_failed", "tokens_embedded", "tokens_saved", "slices")

# Share of the time in which the model is at work that leaves nothing to gain elsewhere.
_BUSY = 0.9


@dataclass
class InferenceSummary:
    """What the model was given and what it took, over the slices of a run.

    Attributes:
        values: Fields of the meter; empty while nothing was embedded.
    """

    values: dict[str, Any] = field(default_factory=dict)

    def add(self, observed: Mapping[str, Any]) -> None:
        """Adds one slice.

        Args:
            observed: Results of `meter_columns`.
        """
        for name in SUMS:
            self.values[name] = self.values.get(name, 0.0) + observed[name]
        for name in PEAKS:
            self.values[name] = max(self.values.get(name, 0.0), observed[name] or 0.0)
        self.values.update({name: observed[name] for name in NAMES if observed[name] is not None})

    def bottleneck(self) -> str:
        """Names the stage that the others wait for.

        Returns:
            `read`, `tokenise`, `forward`, `collect`, `encode` or `write`.
        """
        v = self.values
        # The model is what a machine is paid for: while it is busy nothing else can be the reason.
        if v["forward"] >= _BUSY * (v["forward"] + v["forward_waited"]):
            return "forward"
        return max(("read", "tokenise", "collect", "encode", "write"), key=lambda stage: float(v[stage]))

    def line(self) -> str:
        """Renders it for the report.

        Returns:
            One line; empty where nothing was embedded.
        """
        v = self.values
        if not v or not v["passes"]:
            return ""
        busy = v["forward"] + v["forward_waited"]
        parts = [
            f"{v['device']} {v['dtype']}",
            f"{v['token_budget']:,.0f} tokens a pass",
            f"{v['tokens'] / max(v['forward'], 1e-9):,.0f} tokens/s in the model",
            f"{1 - v['tokens'] / v['computed']:.1%} padding",
            f"model waited {v['forward_waited'] / max(busy, 1e-9):.0%} of the time, bottleneck {self.bottleneck()}",
            f"loaded in {v['load_seconds']:.1f} s",
            f"at most {v['peak_mebibytes']:,.0f} MiB a worker",
        ]
        if v["out_of_memory"]:
            parts.append(f"{v['out_of_memory']:,.0f} times out of memory")
        return " · ".join(parts)


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        run_id: The run.
        how: How its work was found.
        vectors: Quoted name of the vectors table.
        counts: Documents by change (added ...) and by status (library_embedded ...), chunks and tokens.
        seconds: Wall-clock seconds by step.
        inference: What the model took.
    """

    run_id: str
    how: str
    vectors: str
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    inference: InferenceSummary

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        return "\n".join(f"{label:<11}{text}" for label, text in self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the summary as pairs.

        Returns:
            Label and text of each line.
        """
        n = self.counts
        changes = " · ".join(f"{n[change]:,} {words}" for change, words in CHANGE_WORDS.items())
        library = " · ".join(f"{n[f'library_{status}']:,} {status}" for status in _STATUSES)
        chunks = n["chunks"]
        cut = f"{n['truncated'] / chunks:.1%} truncated" if chunks else "none to embed"
        rate = n["tokens_embedded"] / self.seconds["embed"] if self.seconds.get("embed") else 0
        steps = " · ".join(f"{step} {value:.1f}" for step, value in self.seconds.items())
        return [
            ("run", self.run_id),
            ("plan", self.how),
            ("documents", changes),
            ("library", f"{library} · {n['library_chunks']:,} chunks"),
            (
                "chunks",
                f"{chunks:,} in this run · {n['chunks_embedded']:,} embedded · {n['chunks_reused']:,} reused · {cut}",
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


def summarise(run: Run, work: Work, counts: Mapping[str, int], ledger: LedgerSummary, progress: Progress) -> RunReport:
    """Adds up a run.

    Args:
        run: The run.
        work: What it had to do.
        counts: What its slices counted.
        ledger: What the ledger holds now.
        progress: What its steps and the model took.

    Returns:
        The report.
    """
    done = {name: counts.get(name, 0) for name in _COUNTED}
    total = {
        **work.documents,
        **{f"library_{status}": ledger.statuses.get(status, 0) for status in _STATUSES},
        "library_chunks": ledger.chunks,
        **done,
        "chunks_reused": done["chunks"] - done["chunks_embedded"],
        "truncated": ledger.truncated,
    }
    return RunReport(run.run_id, work.how, run.place.name("vectors"), total, dict(progress.seconds), progress.inference)


def meter_columns() -> list[Column]:
    """Sums up the meters of all tasks, for an observation of `schemas.inference.METER`.

    Returns:
        One aggregate for each field of the meter, under its name.
    """
    sums = [F.coalesce(F.sum(f"meter.{name}"), F.lit(0.0)).alias(name) for name in SUMS]
    return sums + [F.max(f"meter.{name}").alias(name) for name in (*PEAKS, *NAMES)]
