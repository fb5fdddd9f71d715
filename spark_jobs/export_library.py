"""The export job: brings a system that people query in step with the vectors of a space.

Started as `embedlake export --config F --to TARGET`, or in a live session:

    from spark_jobs.export_library import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml"), "parquet:./out"))

The first export sends every row, later ones what the table's change feed tells since the version last exported. A
store that was put back from a copy does not know what was exported after the copy was made: export with `--full` then.
"""

from collections import Counter
from contextlib import closing
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from schemas.exports import COMPARISON
from schemas.runs import FINISHED, STARTED
from spark_jobs.export.check import check_count, measure_recall
from spark_jobs.export.difference import find_difference, forget_held, preview
from spark_jobs.export.log import ExportRun, check_alone, open_export_run, record
from spark_jobs.export.plan import ExportPlan, decide
from spark_jobs.export.report import ExportReport
from spark_jobs.export.rows import row_format_of, send_difference
from spark_jobs.runtime.command import Config, Debug, Overrides, guarded, show, watched_session
from spark_jobs.runtime.progress import Progress
from spark_jobs.settings.loading import Settings
from spark_jobs.store.locks import export_lock
from spark_jobs.store.open_space import open_space
from spark_jobs.store.tables import delta_session
from spark_jobs.targets.factory import open_target, target_name
from spark_jobs.targets.target import RowFormat, Target


def run(
    spark: SparkSession,
    settings: Settings,
    to: str,
    *,
    full: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Exports the settings' space.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        to: The target, in one of the forms that `target_address.FORMS` lists.
        full: Whether every row is sent, and what the target holds of the space is replaced.
        dry_run: Whether to say what would be sent and removed, and change nothing.
        progress: Where progress is shown; nowhere when left out.

    Returns:
        What was done, ready to be printed.

    Raises:
        InputError: Something for the user to mend: the space, the target, its server or its rights.
        RunActiveError: Another export to the target is at work.
        ReconciliationError: The target does not hold as many rows as the table.
    """
    progress, name = progress or Progress(), target_name(to)
    with delta_session(spark), closing(open_target(to)) as target:
        with progress.step("open"):
            space = open_space(spark, settings)
            shape = row_format_of(space)
        if dry_run:
            return preview(spark, open_export_run(spark, settings, space, name), target, full, progress)
        with export_lock(settings, name):
            with progress.step("open"):
                attempt = open_export_run(spark, settings, space, name)
                plan, held = _prepared(spark, attempt, target, shape, full)
            with progress.step("compare"):
                plan, difference = find_difference(spark, space, plan, target, name)
            if attempt.is_settled and not difference and not full:
                return _closed(spark, attempt, target, plan, None, progress)
            if not full:
                record(spark, attempt, STARTED, plan, had_rows=held is not None)
            with progress.step("send"):
                counts = send_difference(space, shape, difference, target)
            with progress.step("finish"):
                target.finish()
            return _closed(spark, attempt, target, plan, counts, progress)


def _prepared(
    spark: SparkSession, attempt: ExportRun, target: Target, shape: RowFormat, full: bool
) -> tuple[ExportPlan, int | None]:
    """Has the target make itself ready, and decides by what it holds."""
    if full:
        # From here on rows may go, and whoever comes after a crash must not build on what was there before.
        record(spark, attempt, STARTED, decide(attempt.events, attempt.table, None, full), had_rows=True)
    held = (target.count() or None) if target.prepare(shape, full) else None
    return decide(attempt.events, attempt.table, held, full), held


def _closed(
    spark: SparkSession,
    attempt: ExportRun,
    target: Target,
    plan: ExportPlan,
    counts: Counter[str] | None,
    progress: Progress,
) -> ExportReport:
    """Checks what the target holds and records it; without counts nothing was sent, and the target is as it was."""
    space, done, found = attempt.space, counts or Counter(sent=0, removed=0), None
    with progress.step("check"):
        held = target.count()
        check_count(space, attempt.target, held)
        if counts is not None:
            found = measure_recall(space, target)
    # What is as the last export left it, at the same version, is on record already.
    if counts is not None or plan.mode == COMPARISON or attempt.events[0].version != space.vectors.version:
        check_alone(spark, attempt, plan)
        record(spark, attempt, FINISHED, plan, True, {**done, "rows": held}, found, progress.seconds)
    if plan.mode == COMPARISON:
        forget_held(spark, space, attempt.target)
    return ExportReport(
        target=attempt.target,
        space=space.name,
        version=space.vectors.version,
        rows=space.vectors.count,
        plan=str(plan),
        sent=done["sent"],
        removed=done["removed"],
        recall=found,
        notes=tuple(target.notes()),
        seconds=dict(progress.seconds),
    )


def command(
    config: Config,
    to: Annotated[str, typer.Option(help="Where to: parquet:FOLDER, faiss:FOLDER, postgresql://HOST/DB#TABLE …")],
    full: Annotated[bool, typer.Option("--full", help="Sends everything anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tells what would be sent; sends nothing.")] = False,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Brings the space's vectors to a system that people query, and keeps it in step."""

    def job(settings: Settings) -> None:
        with watched_session(settings, debug) as (spark, progress):
            done = run(spark, settings, to, full=full, dry_run=dry_run, progress=progress)
        show(str(done))

    guarded(job, config, overrides, debug)


if __name__ == "__main__":
    typer.run(command)
