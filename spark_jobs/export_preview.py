"""The dry run of an export: what would be sent and removed, found without writing to the store or the target."""

from pyspark.sql import SparkSession

from schemas.exports import COMPARISON
from schemas.runs import FINISHED
from spark_jobs.export_difference import Difference, by_feed, count_difference
from spark_jobs.export_log import Attempt
from spark_jobs.export_plan import Plan, decide
from spark_jobs.export_report import Export
from spark_jobs.progress import Progress
from spark_jobs.targets import Target


def preview(spark: SparkSession, attempt: Attempt, target: Target, full: bool, progress: Progress) -> Export:
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
    return Export(
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


def _found(spark: SparkSession, attempt: Attempt, target: Target, full: bool) -> tuple[Plan, Difference]:
    space = attempt.space
    plan = decide(attempt.events, attempt.table, None if full else _held(attempt, target), full)
    plan, difference = by_feed(spark, space, plan)
    if difference is None and plan.mode == COMPARISON:
        difference = count_difference(spark, space, plan, target)
    if difference is None:
        difference = Difference(None, None, space.vectors.count, 0)
    return plan, difference


def _held(attempt: Attempt, target: Target) -> int | None:
    last = attempt.events[0] if attempt.events else None
    if last is not None and last.event == FINISHED:
        return last.rows or None
    # Whether there are any is all that counts where no finished export says how many there should be.
    return next((batch.num_rows for batch in target.held() if batch.num_rows), None)
