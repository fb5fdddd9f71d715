"""The record of exports: events in the store's `exports` table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from schemas.errors import RunActiveError
from schemas.exports import EXPORTS
from schemas.runs import FINISHED, STARTED
from spark_jobs.export.plan import ExportEvent, ExportPlan, TableVersion
from spark_jobs.settings.loading import Settings
from spark_jobs.store.fence import new_owner
from spark_jobs.store.locks import store_lock
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.store.tables import SpaceTables
from spark_jobs.targets.target import RowFormat

# If the last hundred exports to a target all failed, it is compared regardless of earlier ones.
_EVENTS = 100


@dataclass(frozen=True)
class ExportRun:
    """One execution of the export job.

    Attributes:
        settings: The whole configuration.
        space: The space that is exported.
        target: The target's name.
        number: Number of the export, counted for this library and target.
        owner: Host, process and a random word.
        events: The record of earlier exports of the space to the target, newest first.
    """

    settings: Settings
    space: OpenSpace
    target: str
    number: int
    owner: str
    events: tuple[ExportEvent, ...]

    @property
    def table(self) -> TableVersion:
        """The rows that are exported."""
        return TableVersion(self.space.vectors.table_id, self.space.model_fingerprint, self.space.vectors.version)

    @property
    def is_settled(self) -> bool:
        """Whether the last export finished."""
        return bool(self.events) and self.events[0].event == FINISHED


def open_export_run(settings: Settings, space: OpenSpace, target: str) -> ExportRun:
    """Reads the record of a target, and numbers the next export; writes nothing."""
    rows: list[Row] = []
    if space.tables.exists(EXPORTS.name):
        newest = F.desc("export_number"), F.desc(F.col("event") == FINISHED)
        earlier = _events(space.tables).where(F.col("target") == target)
        rows = earlier.orderBy(*newest).limit(_EVENTS).collect()
    # Of any space, so that exports of two spaces to the target notice each other.
    number = max((row.export_number for row in rows), default=0) + 1
    events = tuple(
        ExportEvent(
            number=row.export_number,
            event=row.event,
            owner=row.owner,
            table_id=row.table_id,
            model_fingerprint=row.model_fingerprint,
            version=row.vectors_version,
            had_rows=row.had_rows,
            rows=row["rows"],
        )
        for row in rows
        if row.space == space.tables.location.space
    )
    return ExportRun(settings, space, target, number, new_owner(), events)


def record(
    export_run: ExportRun,
    event: str,
    plan: ExportPlan,
    had_rows: bool,
    counts: Mapping[str, int] | None = None,
    recall: float | None = None,
    seconds: Mapping[str, float] | None = None,
) -> None:
    """Appends one event of an export.

    Args:
        export_run: The export.
        event: `started`, before anything in the target changes, or `finished`.
        plan: How it finds the rows to send.
        had_rows: Whether the target may have held rows of the space before.
        counts: Numbers of rows: `sent`, `removed`, and `rows` at the end.
        recall: Share of the nearest neighbors that the target's own index finds.
        seconds: Wall-clock seconds by step.
    """
    tables, vectors = export_run.space.tables, export_run.space.vectors
    row: dict[str, Any] = {
        "library": tables.location.library,
        "space": tables.location.space,
        "target": export_run.target,
        "export_number": export_run.number,
        "event": event,
        "event_time": datetime.now().astimezone(),
        "owner": export_run.owner,
        "model_fingerprint": export_run.space.model_fingerprint,
        "table_id": vectors.table_id,
        "vectors_version": vectors.version,
        "had_rows": had_rows,
        "plan": str(plan),
        **(counts or {}),
        "recall": recall,
        "seconds": {step: round(value, 3) for step, value in (seconds or {}).items()},
    }
    values = tuple(row.get(name) for name in EXPORTS.schema.names)
    with store_lock(export_run.settings):
        tables.complete(EXPORTS)
        tables.append(tables.spark.createDataFrame([values], EXPORTS.schema), EXPORTS)


def check_alone(export_run: ExportRun, plan: ExportPlan) -> None:
    """Raises a RunActiveError if another export to the same target began during this one.

    On one machine a lock prevents that; across machines only the record shows it afterwards. Either export may have
    overwritten newer rows, so the target is recorded as unfinished, and the next export compares.
    """
    later = (F.col("target") == export_run.target) & (F.col("export_number") >= export_run.number)
    others = (
        _events(export_run.space.tables)
        .where(later & (F.col("owner") != export_run.owner))
        .orderBy(F.desc("export_number"))
        .limit(1)
        .collect()
    )
    if not others:
        return
    record(replace(export_run, number=others[0].export_number + 1), STARTED, plan, had_rows=True)
    raise RunActiveError(
        f"another export to {export_run.target} ({others[0].owner}) began while this one was running. Run "
        "it again when no other is running; it then compares the target with the table."
    )


def with_earlier(export_run: ExportRun, row_format: RowFormat, stamp: object) -> RowFormat:
    """Adds to a row format what the record knows of the library's exports, unless the stamp is the table's own.

    Args:
        export_run: The export.
        row_format: Format and owner of the rows to be sent.
        stamp: The target's ownership stamp; anything else if it has none.

    Returns:
        The row format, by which targets recognize the rows of another space.
    """
    tables = export_run.space.tables
    is_own = isinstance(stamp, Mapping) and stamp.get("table") == row_format.table
    if is_own or not tables.exists(EXPORTS.name):
        return row_format
    is_here = (F.col("target") == export_run.target).alias("is_here")
    # A few rows for each space that the library has ever had.
    found = _events(tables).select("space", "table_id", "model_fingerprint", is_here).distinct().collect()
    owners = (owner_of(f"{tables.location.library}.{row.space}", row.model_fingerprint) for row in found if row.is_here)
    return replace(
        row_format,
        earlier_tables=frozenset(row.table_id for row in found) - {row_format.table},
        earlier_owners=frozenset(owners),
    )


def targets_of(tables: SpaceTables) -> list[str]:
    """Lists the names of the targets to which a space was exported; one target may have several."""
    if not tables.exists(EXPORTS.name):
        return []
    events = _events(tables).where(F.col("space") == tables.location.space)
    return sorted(row.target for row in events.select("target").distinct().collect())


def owner_of(space: str, model_fingerprint: str) -> str:
    """Renders the owner of a target's rows, as its ownership stamp has it."""
    return f"embedlake {space} {model_fingerprint}"


def _events(tables: SpaceTables) -> DataFrame:
    """All events of the library's exports, of every space."""
    return tables.read(EXPORTS.name).where(F.col("library") == tables.location.library)
