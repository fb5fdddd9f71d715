"""What an export has to send and to take out: all rows, what the change feed tells, or what a comparison finds."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.exports import COMPARISON, HELD_PAIR, INCREMENTAL, held_table
from spark_jobs import store
from spark_jobs.causes import cause_of
from spark_jobs.export_log import targets_of
from spark_jobs.export_plan import Plan, without_feed
from spark_jobs.export_space import ExportSpace
from spark_jobs.targets import Target
from spark_jobs.vector_history import changes_since
from spark_jobs.versions import read_pinned

# Pairs of ids that are handed to Spark at a time, some 15 MB.
_PAIRS = 200_000


@dataclass(frozen=True)
class Difference:
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
    spark: SparkSession, space: ExportSpace, plan: Plan, target: Target, name: str
) -> tuple[Plan, Difference]:
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


def by_feed(spark: SparkSession, space: ExportSpace, plan: Plan) -> tuple[Plan, Difference | None]:
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
        rows, gone = changes_since(spark, space.place, space.vectors, plan.since)
        # Counting reads every file that sending will read, so that a gap shows before anything is sent.
        return plan, _counted(rows, rows.count(), gone, gone.count())
    except Exception as error:  # PySpark's where a version is gone or the feed was off, Py4J's where a file is
        return without_feed(plan, cause_of(error)), None


def count_difference(spark: SparkSession, space: ExportSpace, plan: Plan, target: Target) -> Difference:
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
    return Difference(None, None, space.vectors.count - same, gone)


def forget_held(spark: SparkSession, space: ExportSpace, name: str) -> None:
    """Empties the table in which a target's ids were compared.

    Args:
        spark: The live session.
        space: What was exported.
        name: The target's name, as it may be printed.
    """
    table = held_table(_digest(name)).name
    if store.exists(spark, space.place.name(table)):
        store.replace(spark.createDataFrame([], HELD_PAIR), space.place, table)


def held_tables(spark: SparkSession, place: store.Place) -> list[str]:
    """Names the tables in which targets of a space were compared.

    Args:
        spark: The live session.
        place: Where the tables of the space lie.

    Returns:
        Last parts of their names.
    """
    tables = [held_table(_digest(target)).name for target in targets_of(spark, place)]
    return [table for table in tables if store.exists(spark, place.name(table))]


def _counted(rows: DataFrame | None, to_send: int, gone: DataFrame | None, to_remove: int) -> Difference:
    return Difference(rows if to_send else None, gone if to_remove else None, to_send, to_remove)


def _by_comparison(spark: SparkSession, space: ExportSpace, plan: Plan, target: Target, name: str) -> Difference:
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


def _same_run(plan: Plan) -> Column:
    return F.col("run_id").eqNullSafe(F.col("held_run_id")) & F.lit(plan.trusts_runs)


def _written(spark: SparkSession, space: ExportSpace, held: Iterator[pa.RecordBatch], name: str) -> DataFrame:
    # A table, for executors see no disk of the driver's. One for each target, which the target's lock protects.
    table = held_table(_digest(name))
    store.ensure_table(spark, space.place, table)
    store.replace(spark.createDataFrame([], HELD_PAIR), space.place, table.name)
    for pairs in _regrouped(held):
        store.append(spark.createDataFrame(pairs, HELD_PAIR), space.place, table.name)
    return read_pinned(spark, space.place, table.name)


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
