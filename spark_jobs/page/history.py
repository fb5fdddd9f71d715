"""The last runs of a space, and the slices of one of them, from the record of runs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from schemas.runs import ENDS, MAINTENANCE_ENDED, MAINTENANCE_STARTED, SLICE_COMMITTED
from spark_jobs.page.facts import RunFacts, Runs, SliceFacts
from spark_jobs.store.runs import count_of

MOST_RUNS = 100
MOST_SLICES = 300
_UNFINISHED = "unfinished"


def read_runs(events: DataFrame) -> Runs:
    """Reads the last runs of a space.

    Args:
        events: Rows of `runs` of one space.

    Returns:
        At most `MOST_RUNS` runs, and at most `MOST_SLICES` slices of the newest run of several.
    """
    runs = events.where(~F.col("event").isin(MAINTENANCE_STARTED, MAINTENANCE_ENDED))
    newest = _by_run(runs).orderBy(F.desc("run_number")).limit(MOST_RUNS).collect()
    # Only a record that is longer than what is shown has to be counted.
    total = runs.select("run_number").distinct().count() if len(newest) == MOST_RUNS else len(newest)
    sliced = next((row for row in newest if row.slices > 1), None)
    slices: list[SliceFacts] = []
    if sliced is not None:
        slices = _read_slices(runs.where(F.col("run_number") == sliced.run_number))
    shown = [as_run(row) for row in reversed(newest)]
    return Runs(total, shown, sliced.run_number if sliced is not None else None, slices)


def _by_run(events: DataFrame) -> DataFrame:
    is_end, is_slice = F.col("event").isin(*ENDS), F.col("event") == SLICE_COMMITTED
    order = F.struct(is_end, F.coalesce("slice_number", F.lit(0)), "event_time")
    kept = F.struct("event", "event_time", "plan", "counts", "seconds", "inference", "message")
    return events.groupBy("run_number").agg(
        F.bool_or(is_end).alias("ended"),
        F.max_by(kept, order).alias("last"),
        F.count_if(is_slice).alias("slices"),
        *(
            F.sum(F.when(is_slice, count_of(name))).alias(name)
            for name in ("chunks", "tokens_embedded", "tokens_saved")
        ),
    )


def as_run(row: Row) -> RunFacts:
    """Converts a row of `_by_run`; a run without an end has only the counts of its slices."""
    last = row["last"]
    of_slices = {name: row[name] or 0 for name in ("chunks", "tokens_embedded", "tokens_saved")}
    counts: Mapping[str, int] = (last.counts or {}) if row.ended else of_slices
    return RunFacts(
        number=row.run_number,
        event=last.event if row.ended else _UNFINISHED,
        at=utc(last.event_time),
        plan=last.plan or "",
        counts=dict(counts),
        seconds=dict(last.seconds or {}),
        inference=_without_nulls(last.inference),
        # A run of one slice has no event of its own for it.
        slices=max(row.slices, counts.get("slices", 0)),
        message=last.message or "",
    )


def _without_nulls(inference: Row | None) -> dict[str, Any]:
    return {} if inference is None else {name: value for name, value in inference.asDict().items() if value is not None}


def _read_slices(events: DataFrame) -> list[SliceFacts]:
    """Reads the last slices of a run; each one's time begins with the event before it."""
    marks = events.where(F.col("slice_number").isNotNull()).select(
        "slice_number", "event_time", count_of("tokens_embedded").alias("tokens")
    )
    newest = marks.orderBy(F.desc("slice_number")).limit(MOST_SLICES + 1).collect()[::-1]
    start = events.agg(F.min("event_time").alias("first")).collect()[0].first
    before = [start, *(row.event_time for row in newest[:-1])]
    slices = [
        SliceFacts(row.slice_number, row.tokens or 0, (row.event_time - earlier).total_seconds())
        for row, earlier in zip(newest, before, strict=True)
    ]
    # The first one of a longer run only says when the next one began.
    return slices if newest and newest[0].slice_number == 1 else slices[1:]


def utc(time: datetime) -> datetime:
    """Converts a time as Spark collects it, which has no zone and is local."""
    return time.astimezone(UTC)
