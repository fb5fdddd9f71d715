"""The verify job: checks every row of a space's vectors and ledger; a repair lets the next run fix what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from schemas.errors import ReconciliationError
from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, guarded, session, show
from spark_jobs.runtime.report import render_lines
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.specs import chunk_spec, inference_spec
from spark_jobs.store.claims import Claim, exclusive
from spark_jobs.store.faults import (
    NO_ID,
    NO_LEDGER_ID,
    REPEATED_FILE,
    ROW_FAULTS,
    mark_documents,
    remove_files,
    remove_rows,
)
from spark_jobs.store.runs import last_run, require_tables
from spark_jobs.store.spaces import as_made, check_space
from spark_jobs.store.tables import delta_session, space_tables
from spark_jobs.store.verification import COLLAPSED, Finding, Verification, verify_rows, waiting
from udfs.specs import ModelSpec

Repair = Annotated[
    bool, typer.Option("--repair", help="Mark faulty documents, so that the next run embeds them again.")
]


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
        chunking = as_made(row, settings, chunk_spec(settings, model))
        check_space(row, settings.space, model, chunking)
        has_context = bool(chunking.context)
        if repair:
            with exclusive(spark, settings, "repair") as claim:
                return _repair(spark, settings, model, has_context, claim)
        report, _ = _check(spark, settings, model, has_context)
        if report.findings:
            raise ReconciliationError(_message(spark, settings, report))
    return report


def _check(
    spark: SparkSession, settings: Settings, model: ModelSpec, has_context: bool
) -> tuple[VerificationReport, Verification]:
    found = verify_rows(space_tables(spark, settings), model, has_context)
    space = f"{settings.library}.{settings.space}"
    return VerificationReport(space, found.statuses, found.chunks, found.waiting, found.findings), found


def _repair(
    spark: SparkSession, settings: Settings, model: ModelSpec, has_context: bool, claim: Claim
) -> VerificationReport:
    tables = space_tables(spark, settings)
    report, found = _check(spark, settings, model, has_context)
    kinds = {finding.fault for finding in report.findings}
    if kinds.intersection(ROW_FAULTS):
        with claim.fence.commit(spark):
            remove_rows(found.rows, tables, with_null_ids=NO_ID in kinds)
    if REPEATED_FILE in kinds:
        with claim.fence.commit(spark):
            remove_files(found.faults, tables)
    left = tables.read("vectors")
    if kinds - {COLLAPSED}:
        documents = found.faults.select("doc_id").where(F.col("doc_id").isNotNull()).distinct()
        with claim.fence.commit(spark):
            mark_documents(documents, found.ledger, left, tables, with_null_ids=NO_LEDGER_ID in kinds)
    return replace(report, removed=report.chunks - left.count(), waiting=waiting(tables.read(LEDGER.name)))


def _message(spark: SparkSession, settings: Settings, report: VerificationReport) -> str:
    tables = space_tables(spark, settings)
    last = last_run(tables)
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


def command(
    config: Config,
    overrides: Overrides = None,
    repair: Repair = False,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Check every row of the space's tables. This reads all of them."""
    guarded(
        lambda settings: show(str(run(session(settings, debug), settings, repair=repair))),
        config,
        overrides,
        debug,
        log_format,
    )


if __name__ == "__main__":
    typer.run(command)
