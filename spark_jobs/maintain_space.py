"""The maintenance job: compacts the tables of a space and removes files that no version in use needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from schemas.documents import DOCUMENTS
from schemas.errors import InputError
from schemas.evaluations import EVALUATIONS
from schemas.exports import EXPORTS
from schemas.ledger import LEDGER
from schemas.runs import RUNS
from schemas.spaces import SPACES
from schemas.staged import STAGED, STAGED_VECTORS
from spark_jobs.export.difference import held_tables
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, guarded, session, show
from spark_jobs.runtime.properties import session_properties
from spark_jobs.runtime.report import render_lines
from spark_jobs.settings.loading import Settings
from spark_jobs.store.claims import Claim, exclusive
from spark_jobs.store.locks import store_lock
from spark_jobs.store.properties import LISTING, RETENTION_HOURS, UNCHECKED_RETENTION, file_sizes
from spark_jobs.store.runs import require_tables
from spark_jobs.store.tables import SpaceTables, delta_session, space_tables
from spark_jobs.store.versions import TableSize, size_of

Force = Annotated[bool, typer.Option("--force", help="Remove files that readers of older versions may still need.")]

_LASTING = ("vectors", LEDGER.name, DOCUMENTS.name)
_IN_FLIGHT = ("plan", *(table.name for table in STAGED))


@dataclass(frozen=True)
class MaintenanceReport:
    """What maintenance did to a space.

    Attributes:
        space: Library and space.
        before: Size of each table before.
        after: Size of each table after.
        kept: Rows of finished inference that were kept for the next run.
        retention_hours: How long to keep files that only older versions need.
    """

    space: str
    before: Mapping[str, TableSize]
    after: Mapping[str, TableSize]
    kept: int
    retention_hours: float

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        return render_lines(self.lines(), 16)

    def lines(self) -> list[tuple[str, str]]:
        """Returns the label and text of each line."""
        lines = [("space", self.space)]
        lines += [(table, f"{size}, now {self.after[table]}") for table, size in self.before.items()]
        if self.kept:
            lines.append(("kept", f"{self.kept:,} staged vectors of a run that did not finish: the next one uses them"))
        lines.append(("removed", f"files that no version of the last {self.retention_hours:g} hours needs"))
        return lines


def run(spark: SparkSession, settings: Settings, *, force: bool = False) -> MaintenanceReport:
    """Compacts the tables of a space and removes files that are no longer needed.

    Args:
        spark: A live session, classic or Connect.
        settings: The configuration, which names the space and how long to keep files.
        force: Whether to remove files before Delta's own retention is over, and finished inference of a dead run.

    Returns:
        Sizes before and after; `str` renders the summary.

    Raises:
        InputError: The space has no tables, or `maintenance.retention_hours` is too short.
        RunActiveError: A run is active.
    """
    tables, hours = space_tables(spark, settings), _retention(settings, force)
    with delta_session(spark):
        require_tables(spark, settings)
        with exclusive(spark, settings, "maintain") as claim:
            names = [table for table in (*_LASTING, *_IN_FLIGHT) if tables.exists(table)]
            before = {table: size_of(tables, table) for table in names}
            kept = _empty_staged(tables, [table for table in names if table in _IN_FLIGHT], claim, force)
            with session_properties(spark, file_sizes(settings.maintenance.file_megabytes)):
                for table in (table for table in names if table in _LASTING):
                    # Rows that are only marked as deleted are still in the files.
                    spark.sql(f"REORG TABLE {tables.name(table)} APPLY (PURGE)")
                    tables.compact(table)
            unchecked = UNCHECKED_RETENTION if float(hours) < RETENTION_HOURS else {}
            with session_properties(spark, LISTING), session_properties(spark, unchecked) as are_set:
                if not are_set:
                    raise InputError(
                        f"this platform does not let a job remove files younger than {RETENTION_HOURS} hours. Set "
                        f"maintenance.retention_hours to {RETENTION_HOURS}, or maintain the space where Delta's check "
                        "of the retention may be switched off. Files have been compacted."
                    )
                for table in (*names, *held_tables(tables)):
                    tables.vacuum(table, hours)
            after = {table: size_of(tables, table) for table in names}
            _compact_records(tables, settings)
    return MaintenanceReport(f"{settings.library}.{settings.space}", before, after, kept, float(hours))


def _compact_records(tables: SpaceTables, settings: Settings) -> None:
    """Compacts the tables of the whole store: each event is a file of its own, and every run reads them."""
    for table in (RUNS.name, SPACES.name, EXPORTS.name, EVALUATIONS.name):
        if tables.exists(table):
            with store_lock(settings):
                tables.compact(table)
            with session_properties(tables.spark, LISTING):
                # Other spaces read them too, whatever this one is asked to forget.
                tables.vacuum(table, str(RETENTION_HOURS))


def _retention(settings: Settings, force: bool) -> str:
    hours = settings.maintenance.retention_hours
    if hours < RETENTION_HOURS and not force:
        raise InputError(
            f"maintenance.retention_hours is {hours:g}, less than the {RETENTION_HOURS} hours for which Delta keeps "
            "files. Readers of older versions and of the change feed would miss files. "
            f"Set it to {RETENTION_HOURS} or more, or run again with --force while nobody reads the space."
        )
    # As a decimal number: Python writes large ones with an exponent.
    return f"{hours:f}".rstrip("0").rstrip(".")


def _empty_staged(tables: SpaceTables, names: list[str], claim: Claim, force: bool) -> int:
    # The next run continues from the finished inference of a run that died.
    is_needed = not claim.was_clean and not force
    kept = 0
    for table in names:
        count = tables.read(table).count()
        if count and table == STAGED_VECTORS.name and is_needed:
            kept = count
        elif count:
            with claim.fence.commit(tables.spark):
                tables.empty(table)
    return kept


def command(
    config: Config, overrides: Overrides = None, force: Force = False, debug: Debug = False, log_format: LogAs = "text"
) -> None:
    """Compact the space's tables and remove files that no version in use needs."""
    guarded(
        lambda settings: show(str(run(session(settings, debug), settings, force=force))),
        config,
        overrides,
        debug,
        log_format,
    )


if __name__ == "__main__":
    typer.run(command)
