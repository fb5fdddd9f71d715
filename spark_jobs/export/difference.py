"""What an export has to send and to take out: all rows, what the change feed tells, or what a comparison finds."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.exports import COMPARISON, HELD_PAIR, INCREMENTAL, held_table
from schemas.runs import FINISHED
from spark_jobs.export.log import ExportRun, targets_of
from spark_jobs.export.plan import ExportPlan, decide, without_feed
from spark_jobs.export.report import ExportReport
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.store.tables import SpaceTables
from spark_jobs.store.versions import changes_since, read_pinned
from spark_jobs.targets.target import Target

# Pairs of ids that are handed to Spark at a time, some 15 MB.
_PAIRS = 200_000


@dataclass(frozen=True)
class ExportDifference:
    """What a target lacks of a table, and has beyond it.

    Attributes:
        rows: Rows of `vectors` to send; None where there are none.
        gone: Column chunk_id, of rows to take out; None where there are none.
        to_send: Number of the rows.
        to_remove: Number of the ids.
    """

    rows: DataFrame | None
    gone: DataFrame | None
    to_send: int
    to_remove: int

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.to_send or self.to_remove)


def find_difference(
    spark: SparkSession, space: OpenSpace, plan: ExportPlan, target: Target, name: str
) -> tuple[ExportPlan, ExportDifference]:
    """Finds what has to be sent and taken out.

    Args:
        spark: The live session.
        space: What is exported.
        plan: How to find it.
        target: Where to; it is only read.
        name: The target's name, as it may be printed.

    Returns:
        The plan that was followed, which is a comparison where the change feed has a gap; and the difference.
    """
    plan, difference = by_feed(spark, space, plan)
    if difference is None and plan.mode == COMPARISON:
        difference = _by_comparison(spark, space, plan, target, name)
    if difference is None:
        difference = _counted(space.vectors.rows, space.vectors.count, None, 0)
    return plan, difference


def by_feed(spark: SparkSession, space: OpenSpace, plan: ExportPlan) -> tuple[ExportPlan, ExportDifference | None]:
    """Asks the change feed, where the plan is incremental.

    Args:
        spark: The live session.
        space: What is exported.
        plan: How to find what has to be sent.

    Returns:
        The plan that is left, which is a comparison where the feed has a gap; and the difference, where the feed told.
    """
    if plan.mode != INCREMENTAL or plan.since is None:
        return plan, None
    if plan.since == space.vectors.version:
        return plan, _counted(None, 0, None, 0)
    try:
        rows, gone = changes_since(space.tables, space.vectors, plan.since)
        # Counting reads every file that sending will read, so that a gap shows before anything is sent.
        return plan, _counted(rows, rows.count(), gone, gone.count())
    except Exception as error:  # PySpark's where a version is gone or the feed was off, Py4J's where a file is
        return without_feed(plan, cause_of(error)), None


def count_difference(spark: SparkSession, space: OpenSpace, plan: ExportPlan, target: Target) -> ExportDifference:
    """Counts what a comparison would find, and writes nothing.

    Args:
        spark: The live session.
        space: What is exported.
        plan: A comparison.
        target: Where to; it is only read.

    Returns:
        The numbers alone.
    """
    stored, same, gone = space.vectors.rows.select("chunk_id", "run_id"), 0, 0
    is_there = F.col("chunk_id").isNotNull()
    for pairs in _regrouped(target.held()):
        held = spark.createDataFrame(pairs, HELD_PAIR).join(stored, _same_id(), "left")
        found = held.agg(F.count_if(is_there & _same_run(plan)).alias("same"), F.count_if(~is_there).alias("gone"))
        row = found.collect()[0]
        same, gone = same + row["same"], gone + row["gone"]
    return ExportDifference(None, None, space.vectors.count - same, gone)


def forget_held(spark: SparkSession, space: OpenSpace, name: str) -> None:
    """Empties the table in which a target's ids were compared.

    Args:
        spark: The live session.
        space: What was exported.
        name: The target's name, as it may be printed.
    """
    table = held_table(_digest(name)).name
    if space.tables.exists(table):
        space.tables.replace(spark.createDataFrame([], HELD_PAIR), table)


def held_tables(tables: SpaceTables) -> list[str]:
    """Names the tables in which targets of a space were compared.

    Args:
        tables: The space's tables.

    Returns:
        Last parts of their names.
    """
    names = [held_table(_digest(target)).name for target in targets_of(tables)]
    return [name for name in names if tables.exists(name)]


def _counted(rows: DataFrame | None, to_send: int, gone: DataFrame | None, to_remove: int) -> ExportDifference:
    return ExportDifference(rows if to_send else None, gone if to_remove else None, to_send, to_remove)


def _by_comparison(
    spark: SparkSession, space: OpenSpace, plan: ExportPlan, target: Target, name: str
) -> ExportDifference:
    held = _written(spark, space, target.held(), name)
    rows, ids = space.vectors.rows, space.vectors.rows.select("chunk_id", "run_id")
    gone = held.join(ids, _same_id(), "left_anti").select(F.col("held_chunk_id").alias("chunk_id"))
    if not plan.trusts_runs:
        return _counted(rows, space.vectors.count, gone, gone.count())
    # Found by ids alone first, so that the vectors of rows that stay pass no shuffle.
    lacking = ids.join(held, _same_id() & _same_run(plan), "left_anti").select("chunk_id")
    return _counted(rows.join(lacking, "chunk_id", "left_semi"), lacking.count(), gone, gone.count())


def _same_id() -> Column:
    return F.col("chunk_id") == F.col("held_chunk_id")


def _same_run(plan: ExportPlan) -> Column:
    return F.col("run_id").eqNullSafe(F.col("held_run_id")) & F.lit(plan.trusts_runs)


def _written(spark: SparkSession, space: OpenSpace, held: Iterator[pa.RecordBatch], name: str) -> DataFrame:
    # A table, for executors see no disk of the driver's. One for each target, which the target's lock protects.
    table = held_table(_digest(name))
    space.tables.ensure(table)
    space.tables.replace(spark.createDataFrame([], HELD_PAIR), table.name)
    for pairs in _regrouped(held):
        space.tables.append(spark.createDataFrame(pairs, HELD_PAIR), table.name)
    return read_pinned(space.tables, table.name)


def _regrouped(held: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    for batch in held:
        for start in range(0, batch.num_rows, _PAIRS):
            waiting.append(batch.select(["chunk_id", "run_id"]).slice(start, _PAIRS))
            if sum(part.num_rows for part in waiting) >= _PAIRS:
                yield pa.Table.from_batches(waiting).rename_columns(HELD_PAIR.names)
                waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting).rename_columns(HELD_PAIR.names)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def preview(spark: SparkSession, attempt: ExportRun, target: Target, full: bool, progress: Progress) -> ExportReport:
    """Counts what an export would send and remove.

    Where the record says that the last export finished, it is believed, and the target is not asked. Else the ids that
    the target holds are compared with the table's. Whether the target would take the rows is not looked at.

    Args:
        spark: The live session.
        attempt: The export that would be made.
        target: Where to; it is only read.
        full: Whether every row would be sent.
        progress: Where progress is shown.

    Returns:
        The numbers, ready to be printed.
    """
    with progress.step("compare"):
        plan, difference = _found(spark, attempt, target, full)
    vectors = attempt.space.vectors
    return ExportReport(
        target=attempt.target,
        space=attempt.space.name,
        version=vectors.version,
        rows=vectors.count,
        plan=str(plan),
        sent=difference.to_send,
        removed=difference.to_remove,
        recall=None,
        notes=(),
        seconds=dict(progress.seconds),
        is_dry=True,
    )


def _found(spark: SparkSession, attempt: ExportRun, target: Target, full: bool) -> tuple[ExportPlan, ExportDifference]:
    space = attempt.space
    plan = decide(attempt.events, attempt.table, None if full else _held(attempt, target), full)
    plan, difference = by_feed(spark, space, plan)
    if difference is None and plan.mode == COMPARISON:
        difference = count_difference(spark, space, plan, target)
    if difference is None:
        difference = ExportDifference(None, None, space.vectors.count, 0)
    return plan, difference


def _held(attempt: ExportRun, target: Target) -> int | None:
    last = attempt.events[0] if attempt.events else None
    if last is not None and last.event == FINISHED:
        return last.rows or None
    # Whether there are any is all that counts where no finished export says how many there should be.
    return next((batch.num_rows for batch in target.held() if batch.num_rows), None)
