"""What an export has to send and to remove: all rows, those in the change feed, or those that a comparison finds."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.exports import COMPARISON, HELD_PAIR, INCREMENTAL, held_table
from schemas.runs import FINISHED
from spark_jobs.export.log import ExportRun, targets_of, with_earlier
from spark_jobs.export.plan import ExportPlan, decide, without_feed
from spark_jobs.export.report import ExportReport
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.store.tables import SpaceTables
from spark_jobs.store.versions import changes_since, read_pinned
from spark_jobs.targets.stamp import replaced_space
from spark_jobs.targets.target import RowFormat, Target

# Pairs of ids handed to Spark at a time, about 15 MB.
_PAIRS = 200_000


@dataclass(frozen=True)
class ExportDifference:
    """What a target lacks and what it has in excess, compared with a table.

    Attributes:
        rows: Rows of `vectors` to send; None if there are none.
        removed_ids: Column chunk_id of the rows to remove; None if there are none.
        to_send: Number of rows to send.
        to_remove: Number of rows to remove.
    """

    rows: DataFrame | None
    removed_ids: DataFrame | None
    to_send: int
    to_remove: int

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.to_send or self.to_remove)


def find_difference(
    space: OpenSpace, plan: ExportPlan, target: Target, target_name: str
) -> tuple[ExportPlan, ExportDifference]:
    """Finds the rows to send and to remove; also returns the plan that was followed (see `_follow`)."""
    return _follow(space, plan, lambda comparison: _compare(space, comparison, target, target_name))


def preview(
    export_run: ExportRun, target: Target, row_format: RowFormat, full: bool, progress: Progress
) -> ExportReport:
    """Counts what an export would send and remove.

    If the last export finished, its record is trusted, and only the target's stamp is read. Otherwise the ids in the
    target are compared with the table's. Whether the target would accept the rows is not checked.
    """
    space = export_run.space
    with progress.step("compare"):
        stamp = target.stamp()
        replaced = replaced_space(stamp, with_earlier(export_run, row_format, stamp))
        held = None if full or replaced is not None else _held(export_run, target)
        plan = decide(export_run.events, export_run.table, held, full, replaced)
        plan, difference = _follow(space, plan, lambda comparison: _count_comparison(space, comparison, target))
    return ExportReport(
        target=export_run.target,
        space=space.name,
        version=space.vectors.version,
        rows=space.vectors.count,
        plan=str(plan),
        sent=difference.to_send,
        removed=difference.to_remove,
        recall=None,
        notes=(),
        seconds=dict(progress.seconds),
        is_dry=True,
        replaced=replaced,
    )


def forget_held(space: OpenSpace, target_name: str) -> None:
    """Empties the table in which a target's ids were compared."""
    table = held_table(_digest(target_name)).name
    if space.tables.exists(table):
        space.tables.empty(table)


def held_tables(tables: SpaceTables) -> list[str]:
    """Names the tables in which the ids of a space's targets were compared."""
    names = [held_table(_digest(target)).name for target in targets_of(tables)]
    return [name for name in names if tables.exists(name)]


def _follow(
    space: OpenSpace, plan: ExportPlan, compare: Callable[[ExportPlan], ExportDifference]
) -> tuple[ExportPlan, ExportDifference]:
    """Follows a plan, or a comparison if the change feed has a gap; returns the plan that was followed."""
    plan, difference = _by_feed(space, plan)
    if difference is None and plan.mode == COMPARISON:
        difference = compare(plan)
    if difference is None:
        difference = _difference(space.vectors.rows, space.vectors.count, None, 0)
    return plan, difference


def _by_feed(space: OpenSpace, plan: ExportPlan) -> tuple[ExportPlan, ExportDifference | None]:
    """Reads the change feed if the plan is incremental; turns the plan into a comparison if the feed has a gap."""
    if plan.mode != INCREMENTAL or plan.since is None:
        return plan, None
    if plan.since == space.vectors.version:
        return plan, _difference(None, 0, None, 0)
    try:
        rows, removed_ids = changes_since(space.tables, space.vectors, plan.since)
        # Counting reads every file that sending will read, so a gap shows before anything is sent.
        return plan, _difference(rows, rows.count(), removed_ids, removed_ids.count())
    except Exception as error:  # PySpark: a version is gone or the feed was off; Py4J: a file is missing
        return without_feed(plan, cause_of(error)), None


def _compare(space: OpenSpace, plan: ExportPlan, target: Target, target_name: str) -> ExportDifference:
    held = _write_held(space, target.held(), target_name)
    rows, ids = space.vectors.rows, space.vectors.rows.select("chunk_id", "run_id")
    removed_ids = held.join(ids, _same_id(), "left_anti").select(F.col("held_chunk_id").alias("chunk_id"))
    if not plan.trusts_runs:
        return _difference(rows, space.vectors.count, removed_ids, removed_ids.count())
    # Compared by ids alone first, so the vectors of unchanged rows are not shuffled.
    lacking = ids.join(held, _same_id() & _same_run(plan), "left_anti").select("chunk_id")
    return _difference(rows.join(lacking, "chunk_id", "left_semi"), lacking.count(), removed_ids, removed_ids.count())


def _count_comparison(space: OpenSpace, plan: ExportPlan, target: Target) -> ExportDifference:
    """Counts what `_compare` would find, without writing a table."""
    stored, same, gone = space.vectors.rows.select("chunk_id", "run_id"), 0, 0
    exists = F.col("chunk_id").isNotNull()
    for pairs in _regroup(target.held()):
        held = space.tables.spark.createDataFrame(pairs, HELD_PAIR).join(stored, _same_id(), "left")
        counts = held.agg(F.count_if(exists & _same_run(plan)).alias("same"), F.count_if(~exists).alias("gone"))
        row = counts.collect()[0]
        same, gone = same + row["same"], gone + row["gone"]
    return ExportDifference(None, None, space.vectors.count - same, gone)


def _difference(
    rows: DataFrame | None, to_send: int, removed_ids: DataFrame | None, to_remove: int
) -> ExportDifference:
    return ExportDifference(rows if to_send else None, removed_ids if to_remove else None, to_send, to_remove)


def _same_id() -> Column:
    return F.col("chunk_id") == F.col("held_chunk_id")


def _same_run(plan: ExportPlan) -> Column:
    return F.col("run_id").eqNullSafe(F.col("held_run_id")) & F.lit(plan.trusts_runs)


def _held(export_run: ExportRun, target: Target) -> int | None:
    last = export_run.events[0] if export_run.events else None
    if last is not None and last.event == FINISHED:
        return last.rows or None
    # Without a finished export, only the presence of rows matters, not their number.
    return next((batch.num_rows for batch in target.held() if batch.num_rows), None)


def _write_held(space: OpenSpace, held: Iterator[pa.RecordBatch], target_name: str) -> DataFrame:
    # In a table, because executors cannot read the driver's disk. Each target has its own table, protected by its lock.
    table, tables = held_table(_digest(target_name)), space.tables
    tables.replace(tables.spark.createDataFrame([], HELD_PAIR), table)
    for pairs in _regroup(held):
        tables.append(tables.spark.createDataFrame(pairs, HELD_PAIR), table)
    return read_pinned(tables, table.name)


def _regroup(held: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    group: list[pa.RecordBatch] = []
    for batch in held:
        for start in range(0, batch.num_rows, _PAIRS):
            group.append(batch.select(["chunk_id", "run_id"]).slice(start, _PAIRS))
            if sum(other.num_rows for other in group) >= _PAIRS:
                yield pa.Table.from_batches(group).rename_columns(HELD_PAIR.names)
                group = []
    if group:
        yield pa.Table.from_batches(group).rename_columns(HELD_PAIR.names)


def _digest(target_name: str) -> str:
    return hashlib.sha256(target_name.encode()).hexdigest()[:16]
