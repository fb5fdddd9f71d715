"""The verify job: checks every row of a space's vectors and ledger; a repair lets the next run fix what is wrong."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import typer
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from schemas.errors import ReconciliationError
from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED, REDO
from schemas.runs import RUNS
from spark_jobs.runtime.command import Config, Debug, Overrides, guarded, session, show
from spark_jobs.runtime.report import render_lines
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.specs import chunk_spec, inference_spec
from spark_jobs.store.claims import Claim, exclusive
from spark_jobs.store.faults import (
    FAULTS,
    NO_ID,
    NO_LEDGER_ID,
    ROW_FAULTS,
    faulty_documents,
    faulty_rows,
    mark_documents,
    remove_rows,
)
from spark_jobs.store.ledger import summarise_ledger
from spark_jobs.store.runs import history, require_tables
from spark_jobs.store.spaces import check_space
from spark_jobs.store.tables import delta_session, space_tables
from spark_jobs.store.versions import read_pinned
from udfs.quantization import collapsed_numbers
from udfs.specs import ModelSpec

Repair = Annotated[
    bool, typer.Option("--repair", help="Mark faulty documents, so that the next run embeds them again.")
]

COLLAPSED = (
    "numbers of the int8 embedding at an end of their range in half of the texts or more, as the ranges do not fit the "
    "library: embed it into a new space by the setting `space`"
)
# Enough to tell half of the texts from a few.
_JUDGED_TEXTS = 2048
_NAMED = 5
_NAME_CHARACTERS = 80


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Attributes:
        fault: One of `store.faults.FAULTS`, or `COLLAPSED`.
        count: Number of rows, documents or numbers that have it; the fault says which.
        examples: Ids of a few of the documents.
    """

    fault: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        """Renders the finding in one line, whatever characters its ids contain."""
        shown = ", ".join(ascii(doc_id[:_NAME_CHARACTERS]) for doc_id in self.examples)
        return f"{self.count:,} {self.fault}" + (f": documents such as {shown}" if shown else "")


@dataclass(frozen=True)
class VerificationReport:
    """What a space contains and what is wrong with it.

    Attributes:
        space: Library and space.
        statuses: Number of documents by status.
        chunks: Rows of vectors.
        waiting: Documents that a repair marked and no run has embedded again yet.
        findings: What is wrong; empty if nothing is.
        removed: Rows of vectors that this repair removed; None without a repair.
    """

    space: str
    statuses: Mapping[str, int]
    chunks: int
    waiting: int
    findings: tuple[Finding, ...]
    removed: int | None = None

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        return render_lines(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Returns the label and text of each line."""
        library = " · ".join(f"{self.statuses.get(s, 0):,} {s}" for s in (EMBEDDED, EMPTY, QUARANTINED))
        lines = [("space", self.space), ("library", f"{library} · {self.chunks:,} chunks")]
        lines += [("fault", str(finding)) for finding in self.findings] or [("faults", "none")]
        if self.removed is not None and self.findings:
            lines.append(("repair", f"{self.removed:,} rows removed from vectors"))
        if self.waiting:
            lines.append(("marked", f"{self.waiting:,} documents, which the next embedlake embed processes again"))
        return lines


def run(spark: SparkSession, settings: Settings, *, repair: bool = False) -> VerificationReport:
    """Checks every row of a space.

    Args:
        spark: A live session, classic or Connect.
        settings: The configuration, which names the space.
        repair: Whether to mark faulty documents, so that the next run embeds them again.

    Returns:
        What was found, and with `repair` what was marked; `str` renders the summary.

    Raises:
        InputError: The space has no tables, or its model or chunking rule differs from the settings.
        RunActiveError: A repair was requested while a run is active.
        ReconciliationError: Something is wrong and no repair was requested.
    """
    with delta_session(spark):
        row = require_tables(spark, settings)
        model = inference_spec(settings).model
        check_space(row, settings.space, model, chunk_spec(settings, model))
        if repair:
            with exclusive(spark, settings, "repair") as claim:
                return _repair(spark, settings, model, claim)
        report, *_ = _check(spark, settings, model)
        if report.findings:
            raise ReconciliationError(_message(spark, settings, report))
    return report


def _check(
    spark: SparkSession, settings: Settings, model: ModelSpec
) -> tuple[VerificationReport, DataFrame, DataFrame, DataFrame]:
    tables = space_tables(spark, settings)
    # All passes, and the commits of a repair, must see the same rows.
    ledger, vectors = (read_pinned(tables, table) for table in (LEDGER.name, "vectors"))
    rows = faulty_rows(vectors, model)
    faults = rows.select("doc_id", "fault").unionByName(faulty_documents(ledger, vectors))
    report = VerificationReport(
        space=f"{settings.library}.{settings.space}",
        statuses=summarise_ledger(ledger).statuses,
        chunks=vectors.count(),
        waiting=_waiting(ledger),
        findings=_findings(faults) + (_collapsed(vectors) if model.precision == "int8" else ()),
    )
    return report, ledger, rows, faults


def _collapsed(vectors: DataFrame) -> tuple[Finding, ...]:
    # Different texts, by a hash of their hash: neither the first file's alone, nor one that is repeated in every page.
    texts = vectors.where(F.col("embedding").isNotNull()).select("text_hash").distinct()
    drawn = texts.orderBy(F.xxhash64("text_hash"), "text_hash").limit(_JUDGED_TEXTS)
    rows = vectors.join(drawn, "text_hash", "left_semi").dropDuplicates(["text_hash"]).select("embedding").collect()
    widths = Counter(len(row.embedding) for row in rows)
    # Rows of another length are a fault of their own.
    width = widths.most_common(1)[0][0] if widths else 0
    stored = np.array([row.embedding for row in rows if len(row.embedding) == width], dtype=np.float64)
    count = collapsed_numbers(stored)
    return (Finding(COLLAPSED, count, ()),) if count else ()


def _waiting(ledger: DataFrame) -> int:
    return ledger.where(F.col("text_hash") == REDO).count()


def _findings(faults: DataFrame) -> tuple[Finding, ...]:
    same_fault = Window.partitionBy("fault")
    groups = (
        faults.groupBy("fault", "doc_id")
        .agg(F.count(F.lit(1)).alias("n"))
        .withColumns(
            {
                "count": F.sum("n").over(same_fault),
                "number": F.row_number().over(same_fault.orderBy(F.asc_nulls_last("doc_id"))),
            }
        )
        .where(F.col("number") <= _NAMED)
        .collect()
    )
    counts = {group["fault"]: group["count"] for group in groups}
    named = sorted((group["fault"], group["doc_id"]) for group in groups if group["doc_id"] is not None)
    return tuple(
        Finding(fault, counts[fault], tuple(doc_id for kind, doc_id in named if kind == fault))
        for fault in FAULTS
        if fault in counts
    )


def _repair(spark: SparkSession, settings: Settings, model: ModelSpec, claim: Claim) -> VerificationReport:
    tables = space_tables(spark, settings)
    report, ledger, rows, faults = _check(spark, settings, model)
    kinds = {finding.fault for finding in report.findings}
    if kinds.intersection(ROW_FAULTS):
        with claim.fence.commit(spark):
            remove_rows(rows, tables, with_null_ids=NO_ID in kinds)
    left = tables.read("vectors")
    if kinds - {COLLAPSED}:
        documents = faults.select("doc_id").where(F.col("doc_id").isNotNull()).distinct()
        with claim.fence.commit(spark):
            mark_documents(documents, ledger, left, tables, with_null_ids=NO_LEDGER_ID in kinds)
    return replace(report, removed=report.chunks - left.count(), waiting=_waiting(tables.read(LEDGER.name)))


def _message(spark: SparkSession, settings: Settings, report: VerificationReport) -> str:
    tables = space_tables(spark, settings)
    last = history(tables)[0] if tables.exists(RUNS.name) else None
    lines = "".join(f"\n  - {finding}" for finding in report.findings)
    unfinished = (
        f"\nrun {report.space}.{last.run_number} has not ended, and what it has not finished yet looks wrong"
        if last is not None and not last.ended
        else ""
    )
    repairs = (
        "\nRun embedlake verify --repair. It marks these documents, and the next embedlake embed processes them again."
    )
    is_repairable = any(finding.fault != COLLAPSED for finding in report.findings)
    return f"space {report.space} has faults:{lines}{unfinished}{repairs if is_repairable else ''}"


def command(config: Config, overrides: Overrides = None, repair: Repair = False, debug: Debug = False) -> None:
    """Check every row of the space's tables. This reads all of them."""
    guarded(
        lambda settings: show(str(run(session(settings, debug), settings, repair=repair))),
        config,
        overrides,
        debug,
    )


if __name__ == "__main__":
    typer.run(command)
