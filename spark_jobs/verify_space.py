"""The verify job: every row of a space's vectors and ledger is looked at; a repair has the next run mend them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from schemas.errors import ReconciliationError
from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED, REDO
from schemas.runs import RUNS
from spark_jobs.runtime.command import Config, Debug, Overrides, guarded, session, show
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.specs import chunk_spec, inference_spec
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
from spark_jobs.store.runs import exclusive, history, require_tables
from spark_jobs.store.spaces import check_space, registered
from spark_jobs.store.tables import delta_session, space_tables
from spark_jobs.store.versions import read_pinned
from udfs.specs import ModelSpec

Repair = Annotated[bool, typer.Option("--repair", help="Marks what is wrong, so that the next run does it again.")]

_NAMED = 5
_NAME_CHARACTERS = 80


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Attributes:
        fault: One of `checks.FAULTS`.
        count: Rows or documents that have it, as the fault says.
        examples: Ids of a few of the documents.
    """

    fault: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        """Renders the finding in one line, whatever characters the ids have."""
        shown = ", ".join(ascii(doc_id[:_NAME_CHARACTERS]) for doc_id in self.examples)
        return f"{self.count:,} {self.fault}" + (f": documents such as {shown}" if shown else "")


@dataclass(frozen=True)
class VerificationReport:
    """What a space holds and what is wrong with it.

    Attributes:
        space: Library and space.
        statuses: Documents by status.
        chunks: Rows of vectors.
        waiting: Documents that a repair marked and no run has done again yet.
        findings: What is wrong; empty where nothing is.
        removed: Rows of vectors that this repair took out; None where it was not asked for.
    """

    space: str
    statuses: Mapping[str, int]
    chunks: int
    waiting: int
    findings: tuple[Finding, ...]
    removed: int | None = None

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        return "\n".join(f"{label:<11}{text}" for label, text in self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the summary as pairs.

        Returns:
            Label and text of each line.
        """
        library = " · ".join(f"{self.statuses.get(s, 0):,} {s}" for s in (EMBEDDED, EMPTY, QUARANTINED))
        lines = [("space", self.space), ("library", f"{library} · {self.chunks:,} chunks")]
        lines += [("fault", str(finding)) for finding in self.findings] or [("faults", "none")]
        if self.removed is not None and self.findings:
            lines.append(("repair", f"{self.removed:,} rows taken out of vectors"))
        if self.waiting:
            lines.append(("marked", f"{self.waiting:,} documents, which the next embedlake embed does again"))
        return lines


def run(spark: SparkSession, settings: Settings, *, repair: bool = False) -> VerificationReport:
    """Checks every row of a space.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        repair: Whether to mark what is wrong, so that the next run does it again.

    Returns:
        What was found, ready to be printed; with `repair` also what was marked.

    Raises:
        InputError: The space has no tables, or was made by another model or chunking rule than the settings name.
        RunActiveError: A repair was asked for while a run is at work.
        ReconciliationError: Something is wrong and no repair was asked for.
    """
    with delta_session(spark):
        require_tables(spark, settings)
        model = inference_spec(settings).model
        check_space(registered(spark, settings), settings.space, model, chunk_spec(settings, model))
        if repair:
            with exclusive(spark, settings):
                return _repaired(spark, settings, model)
        found, *_ = _verified(spark, settings, model)
        if found.findings:
            raise ReconciliationError(_message(spark, settings, found))
    return found


def _verified(
    spark: SparkSession, settings: Settings, model: ModelSpec
) -> tuple[VerificationReport, DataFrame, DataFrame, DataFrame]:
    tables = space_tables(spark, settings)
    # Several passes and a repair's own commits must not see different rows.
    ledger, vectors = (read_pinned(tables, table) for table in (LEDGER.name, "vectors"))
    rows = faulty_rows(vectors, model)
    faults = rows.select("doc_id", "fault").unionByName(faulty_documents(ledger, vectors))
    found = VerificationReport(
        space=f"{settings.library}.{settings.space}",
        statuses=summarise_ledger(ledger).statuses,
        chunks=vectors.count(),
        waiting=_waiting(ledger),
        findings=_findings(faults),
    )
    return found, ledger, rows, faults


def _waiting(ledger: DataFrame) -> int:
    return ledger.where(F.col("text_hash") == REDO).count()


def _findings(faults: DataFrame) -> tuple[Finding, ...]:
    alike = Window.partitionBy("fault")
    groups = (
        faults.groupBy("fault", "doc_id")
        .agg(F.count(F.lit(1)).alias("n"))
        .withColumns(
            {
                "count": F.sum("n").over(alike),
                "place": F.row_number().over(alike.orderBy(F.asc_nulls_last("doc_id"))),
            }
        )
        .where(F.col("place") <= _NAMED)
        .collect()
    )
    counts = {group["fault"]: group["count"] for group in groups}
    named = sorted((group["fault"], group["doc_id"]) for group in groups if group["doc_id"] is not None)
    return tuple(
        Finding(fault, counts[fault], tuple(doc_id for kind, doc_id in named if kind == fault))
        for fault in FAULTS
        if fault in counts
    )


def _repaired(spark: SparkSession, settings: Settings, model: ModelSpec) -> VerificationReport:
    tables = space_tables(spark, settings)
    found, ledger, rows, faults = _verified(spark, settings, model)
    kinds = {finding.fault for finding in found.findings}
    if kinds.intersection(ROW_FAULTS):
        remove_rows(rows, tables, with_null_ids=NO_ID in kinds)
    left = tables.read("vectors")
    if kinds:
        documents = faults.select("doc_id").where(F.col("doc_id").isNotNull()).distinct()
        mark_documents(documents, ledger, left, tables, with_null_ids=NO_LEDGER_ID in kinds)
    return replace(found, removed=found.chunks - left.count(), waiting=_waiting(tables.read(LEDGER.name)))


def _message(spark: SparkSession, settings: Settings, found: VerificationReport) -> str:
    tables = space_tables(spark, settings)
    last = history(tables)[0] if tables.exists(RUNS.name) else None
    lines = "".join(f"\n  - {finding}" for finding in found.findings)
    at_work = (
        f"\nrun {found.space}.{last.run_number} has not ended: what it is about to finish looks wrong until it does"
        if last is not None and not last.ended
        else ""
    )
    return (
        f"space {found.space} does not hold what its ledger says:{lines}{at_work}\n"
        "embedlake verify --repair marks these documents so that the next embedlake embed does them again"
    )


def command(config: Config, overrides: Overrides = None, repair: Repair = False, debug: Debug = False) -> None:
    """Checks every row of the space's tables; reads all of them."""
    guarded(
        lambda settings: show(str(run(session(settings, debug), settings, repair=repair))),
        config,
        overrides,
        debug,
    )


if __name__ == "__main__":
    typer.run(command)
