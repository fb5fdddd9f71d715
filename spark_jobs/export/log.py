"""The record of exports: events appended to the store's `exports` table, and what it says of a target."""

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import RunActiveError
from schemas.exports import EXPORTS
from schemas.runs import FINISHED, STARTED
from spark_jobs.export.plan import ExportEvent, ExportPlan, TableVersion
from spark_jobs.settings.loading import Settings
from spark_jobs.store.locks import store_lock
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.store.tables import SpaceTables

# A target whose last hundred exports all failed is compared without regard to what came before them.
_EVENTS = 100


@dataclass(frozen=True)
class ExportRun:
    """One execution of the export job.

    Attributes:
        settings: The whole configuration.
        space: What is exported.
        target: Where to, as it may be printed.
        number: Number of the export among those of the space to the target.
        owner: Host, process and a random word: who it is.
        events: The record of earlier ones, newest first.
    """

    settings: Settings
    space: OpenSpace
    target: str
    number: int
    owner: str
    events: tuple[ExportEvent, ...]

    @property
    def table(self) -> TableVersion:
        """Which rows are exported."""
        return TableVersion(self.space.vectors.table_id, self.space.model_fingerprint, self.space.vectors.version)

    @property
    def is_settled(self) -> bool:
        """Whether the last export finished."""
        return bool(self.events) and self.events[0].event == FINISHED


def open_export_run(spark: SparkSession, settings: Settings, space: OpenSpace, target: str) -> ExportRun:
    """Reads what is on record of a target; writes nothing.

    Args:
        spark: The live session.
        settings: The whole configuration.
        space: What is exported.
        target: Where to, as it may be printed.

    Returns:
        The attempt, under the next number.
    """
    rows: list[Row] = []
    if space.tables.exists(EXPORTS.name):
        newest = F.desc("export_number"), F.desc(F.col("event") == FINISHED)
        earlier = _events(space.tables).where(F.col("target") == target)
        rows = earlier.orderBy(*newest).limit(_EVENTS).collect()
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
    )
    number = events[0].number + 1 if events else 1
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    return ExportRun(settings, space, target, number, owner, events)


def record(
    spark: SparkSession,
    attempt: ExportRun,
    event: str,
    plan: ExportPlan,
    had_rows: bool,
    counts: Mapping[str, int] | None = None,
    recall: float | None = None,
    seconds: Mapping[str, float] | None = None,
) -> None:
    """Appends one event of an export.

    Args:
        spark: The live session.
        attempt: The export.
        event: `started`, before anything of the target is touched, or `finished`.
        plan: How it finds what it has to send.
        had_rows: Whether the target may have held rows of the space before.
        counts: Rows: `sent`, `removed` and `rows` at the end.
        recall: Share of the nearest that the target's own index finds.
        seconds: Wall-clock seconds by step.
    """
    row: dict[str, Any] = {
        "library": attempt.space.tables.location.library,
        "space": attempt.space.tables.location.space,
        "target": attempt.target,
        "export_number": attempt.number,
        "event": event,
        "event_time": datetime.now().astimezone(),
        "owner": attempt.owner,
        "model_fingerprint": attempt.space.model_fingerprint,
        "table_id": attempt.space.vectors.table_id,
        "vectors_version": attempt.space.vectors.version,
        "had_rows": had_rows,
        "plan": str(plan),
        **(counts or {}),
        "recall": recall,
        "seconds": {step: round(value, 3) for step, value in (seconds or {}).items()},
    }
    values = tuple(row.get(name) for name in EXPORTS.schema.names)
    with store_lock(attempt.settings):
        attempt.space.tables.ensure(EXPORTS)
        attempt.space.tables.append(spark.createDataFrame([values], EXPORTS.schema), EXPORTS.name)


def check_alone(spark: SparkSession, attempt: ExportRun, plan: ExportPlan) -> None:
    """Refuses to call an export finished while which another one to the same target began.

    On one machine a lock keeps them apart. Elsewhere the record tells afterwards: what either sent may have come
    behind what is newer, so the target counts as unfinished, and the next export compares.

    Args:
        spark: The live session.
        attempt: The export.
        plan: How it found what it had to send.

    Raises:
        RunActiveError: Another one began.
    """
    later = (F.col("target") == attempt.target) & (F.col("export_number") >= attempt.number)
    others = (
        _events(attempt.space.tables)
        .where(later & (F.col("owner") != attempt.owner))
        .orderBy(F.desc("export_number"))
        .limit(1)
        .collect()
    )
    if not others:
        return
    last = ExportRun(
        attempt.settings, attempt.space, attempt.target, others[0].export_number + 1, attempt.owner, attempt.events
    )
    record(spark, last, STARTED, plan, had_rows=True)
    raise RunActiveError(
        f"another export to {attempt.target} ({others[0].owner}) began while this one was at work: run it again when "
        "no other is, and it compares what is there with the table"
    )


def targets_of(tables: SpaceTables) -> list[str]:
    """Names the targets to which a space was exported.

    Args:
        tables: The space's tables.

    Returns:
        The targets, as they may be printed: so many as somebody has named on a command line.
    """
    if not tables.exists(EXPORTS.name):
        return []
    return sorted(row.target for row in _events(tables).select("target").distinct().collect())


def _events(tables: SpaceTables) -> DataFrame:
    here = (F.col("library") == tables.location.library) & (F.col("space") == tables.location.space)
    return tables.read(EXPORTS.name).where(here)
