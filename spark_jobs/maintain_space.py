"""The maintenance job: compacts the tables of a space and removes files that no version in use needs."""

from typing import Annotated
import typer
from spark_jobs.runtime.command import Config
from spark_jobs.runtime.command import Debug
from spark_jobs.runtime.command import Overrides
from spark_jobs.runtime.command import guarded
from spark_jobs.runtime.command import session
from spark_jobs.runtime.command import show
from spark_jobs import maintain_space
from collections.abc import Mapping
from dataclasses import dataclass
from pyspark.sql import SparkSession
from schemas.errors import InputError
from schemas.ledger import LEDGER
from schemas.runs import RUNS
from schemas.staged import STAGED_VECTORS
from spark_jobs.store.runs import history
from spark_jobs.store.properties import LISTING
from spark_jobs.store.properties import RETENTION_HOURS
from spark_jobs.store.properties import UNCHECKED_RETENTION
from spark_jobs.store.properties import file_sizes
from spark_jobs.export.difference import held_tables
from spark_jobs.store.runs import exclusive
from spark_jobs.store.runs import require_tables
from spark_jobs.runtime.properties import session_properties
from spark_jobs.settings.loading import Settings
from schemas.staged import STAGED
from spark_jobs.store import tables as store
from spark_jobs.cli import app

Force = Annotated[bool, typer.Option("--force", help="Lets files go before readers are sure not to need them.")]

_LASTING = ("vectors", LEDGER.name)
_IN_FLIGHT = ("plan", *(table.name for table in STAGED))


@dataclass(frozen=True)
class TableSize:
    """How much a table holds in its current version.

    Attributes:
        rows: Rows.
        files: Data files.
        bytes: Bytes of these files.
    """

    rows: int
    files: int
    bytes: int

    def __str__(self) -> str:
        """Renders the size in a few words."""
        return f"{self.rows:,} rows in {self.files:,} files of {self.bytes / 1e6:,.1f} MB"


@dataclass(frozen=True)
class MaintenanceReport:
    """What maintenance made of a space.

    Attributes:
        space: Library and space.
        before: Size of each table before.
        after: Size of each table after.
        kept: Rows of finished inference that were left for the next run.
        retention_hours: Hours for which files stay that an older version needs.
    """

    space: str
    before: Mapping[str, TableSize]
    after: Mapping[str, TableSize]
    kept: int
    retention_hours: float

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        return "\n".join(f"{label:<16}{text}" for label, text in self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the summary as pairs.

        Returns:
            Label and text of each line.
        """
        lines = [("space", self.space)]
        lines += [(table, f"{size}, now {self.after[table]}") for table, size in self.before.items()]
        if self.kept:
            lines.append(("kept", f"{self.kept:,} staged vectors of a run that did not finish: the next one uses them"))
        lines.append(("removed", f"files that no version of the last {self.retention_hours:g} hours needs"))
        return lines


def run(spark: SparkSession, settings: Settings, *, force: bool = False) -> MaintenanceReport:
    """Compacts the tables of a space and removes files that are needed no more.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        force: Whether files may go before Delta's own retention is over; finished inference of a dead run goes too.

    Returns:
        Sizes before and after, ready to be printed.

    Raises:
        InputError: The space has no tables, or `maintenance.retention_hours` is too short.
        RunActiveError: A run is at work.
    """
    place, hours = store.location_of(settings), _retention(settings, force)
    with store.delta_session(spark):
        require_tables(spark, settings)
        with exclusive(spark, settings):
            tables = [table for table in (*_LASTING, *_IN_FLIGHT) if store.exists(spark, place.name(table))]
            before = {table: _size(spark, place, table) for table in tables}
            kept = _empty(spark, place, [table for table in tables if table in _IN_FLIGHT], force)
            with session_properties(spark, file_sizes(settings.maintenance.file_megabytes)):
                for table in _LASTING:
                    # Rows that are only marked as deleted are still in their files.
                    spark.sql(f"REORG TABLE {place.name(table)} APPLY (PURGE)")
                    spark.sql(f"OPTIMIZE {place.name(table)}")
            with session_properties(spark, {**LISTING, **(UNCHECKED_RETENTION if force else {})}):
                for table in (*tables, *held_tables(spark, place)):
                    spark.sql(f"VACUUM {place.name(table)} RETAIN {hours} HOURS")
            after = {table: _size(spark, place, table) for table in tables}
    return MaintenanceReport(f"{settings.library}.{settings.space}", before, after, kept, float(hours))


def _retention(settings: Settings, force: bool) -> str:
    hours = settings.maintenance.retention_hours
    if hours < RETENTION_HOURS and not force:
        raise InputError(
            f"maintenance.retention_hours is {hours:g}, less than the {RETENTION_HOURS} hours of Delta's own rule: "
            "readers of an older version and followers of the change feed would find files gone; ask for "
            f"{RETENTION_HOURS} or more, or run again with --force when nobody reads the space"
        )
    # Written out: a large number would get an exponent.
    return f"{hours:f}".rstrip("0").rstrip(".")


def _size(spark: SparkSession, place: store.TableLocation, table: str) -> TableSize:
    detail = spark.sql(f"DESCRIBE DETAIL {place.name(table)}").select("numFiles", "sizeInBytes").collect()[0]
    return TableSize(store.read(spark, place, table).count(), detail.numFiles, detail.sizeInBytes)


def _empty(spark: SparkSession, place: store.TableLocation, tables: list[str], force: bool) -> int:
    last = history(spark, place)[0] if store.exists(spark, place.name(RUNS.name)) else None
    # Finished inference of a run that died is what the next run goes on from.
    is_wanted = last is not None and not last.finished and not force
    kept = 0
    for table in tables:
        rows = store.read(spark, place, table)
        count = rows.count()
        if count and table == STAGED_VECTORS.name and is_wanted:
            kept = count
        elif count:
            store.replace(spark.createDataFrame([], rows.schema), place, table)
    return kept


@app.command()
def command(config: Config, overrides: Overrides = None, force: Force = False, debug: Debug = False) -> None:
    """Compacts the space's tables and removes files that no version in use needs."""
    guarded(
        lambda settings: show(str(maintain_space.run(session(settings, debug), settings, force=force))),
        config,
        overrides,
        debug,
    )
