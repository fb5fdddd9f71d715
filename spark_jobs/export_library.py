"""The export job: keeps a system that people query in sync with the vectors of a space.

Start it as `embedlake export --config F --to TARGET`, or in a live session:

    from spark_jobs.export_library import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml"), "parquet:./out"))

The first export sends every row, later ones the changes in the table's change feed since the last exported version.
After another space of the library has become the active one, the next export fills the target anew beside the old rows
and switches it. A store that was restored from a copy does not know of later exports; run the next one with `--full`.
"""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from schemas.exports import COMPARISON
from schemas.runs import FINISHED, STARTED
from spark_jobs.export.check import check_count, measure_recall
from spark_jobs.export.difference import find_difference, forget_held, preview
from spark_jobs.export.log import ExportRun, check_alone, open_export_run, record, with_earlier
from spark_jobs.export.plan import ExportPlan, decide
from spark_jobs.export.report import ExportReport
from spark_jobs.export.rows import row_format_of, send_difference
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, reported
from spark_jobs.runtime.progress import Progress
from spark_jobs.settings.loading import Settings
from spark_jobs.store.failpoints import failpoint
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.locks import export_lock
from spark_jobs.store.open_space import open_space
from spark_jobs.store.tables import delta_session
from spark_jobs.targets.factory import open_target, target_name
from spark_jobs.targets.stamp import replaced_space
from spark_jobs.targets.target import RowFormat, Target


def run(
    spark: SparkSession,
    settings: Settings,
    to: str,
    *,
    space: str | None = None,
    full: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Exports a space of the library. A target that holds another space of the library is switched to it.

    Args:
        spark: A live session, classic or Connect.
        settings: The settings.
        to: The target, in one of the forms in `spark_jobs.targets.address.FORMS`.
        space: A space of the library to export instead of its active one.
        full: Whether to send every row, and replace the library's rows in the target.
        dry_run: Whether to count what would be sent and removed, without changing anything.
        progress: Where to show progress; not shown by default.

    Returns:
        The summary, ready to print.

    Raises:
        InputError: The space, the target, its server or the user's rights need fixing.
        RunActiveError: Another export to the target is running.
        ReconciliationError: The target does not hold as many rows as the table.
    """
    progress, name = progress or Progress(), target_name(to)
    with delta_session(spark), closing(open_target(to)) as target:
        with progress.step("open"):
            settings = with_file_system(spark, settings)
            opened = open_space(spark, settings, space)
            row_format = row_format_of(opened)
        if dry_run:
            return preview(open_export_run(opened.settings, opened, name), target, row_format, full, progress)
        with export_lock(settings, name):
            with progress.step("open"):
                export_run = open_export_run(opened.settings, opened, name)
                prepared = _prepare(export_run, target, row_format, full)
            with progress.step("compare"):
                plan, difference = find_difference(opened, prepared.plan, target, name)
            prepared = replace(prepared, plan=plan)
            if export_run.is_settled and not difference and not full and prepared.replaced is None:
                return _conclude(export_run, target, prepared, None, progress)
            if not full:
                record(export_run, STARTED, plan, had_rows=prepared.held is not None)
            with progress.step("send"):
                counts = send_difference(opened, row_format, difference, target)
            with progress.step("finish"):
                failpoint("export.finish")
                target.finish()
            return _conclude(export_run, target, prepared, counts, progress)


@dataclass(frozen=True)
class _Prepared:
    """A prepared target: the plan, the number of the space's rows in it (None without any), and whose rows it has."""

    plan: ExportPlan
    held: int | None
    replaced: str | None


def _prepare(export_run: ExportRun, target: Target, row_format: RowFormat, full: bool) -> _Prepared:
    stamp = target.stamp()
    row_format = with_earlier(export_run, row_format, stamp)
    replaced = replaced_space(stamp, row_format)
    if full:
        # From here on rows may be deleted, and after a crash the next export must not rely on the earlier ones.
        record(export_run, STARTED, decide(export_run.events, export_run.table, None, full), had_rows=True)
    held = (target.count() or None) if target.prepare(row_format, full) else None
    return _Prepared(decide(export_run.events, export_run.table, held, full, replaced), held, replaced)


def _conclude(
    export_run: ExportRun,
    target: Target,
    prepared: _Prepared,
    counts: Counter[str] | None,
    progress: Progress,
) -> ExportReport:
    """Checks the target, records the result and reports it; `counts` is None if nothing was sent."""
    space, plan, recall = export_run.space, prepared.plan, None
    totals = counts or Counter(sent=0, removed=0)
    with progress.step("check"):
        held = target.count()
        check_count(space, export_run.target, held)
        if counts is not None:
            recall = measure_recall(space, target)
    # An unchanged target at the last export's version is already on record.
    if counts is not None or plan.mode == COMPARISON or export_run.events[0].version != space.vectors.version:
        check_alone(export_run, plan)
        record(export_run, FINISHED, plan, True, {**totals, "rows": held}, recall, progress.seconds)
    if plan.mode == COMPARISON:
        forget_held(space, export_run.target)
    return ExportReport(
        target=export_run.target,
        space=space.name,
        version=space.vectors.version,
        rows=space.vectors.count,
        plan=str(plan),
        sent=totals["sent"],
        removed=totals["removed"],
        recall=recall,
        notes=tuple(target.notes()),
        seconds=dict(progress.seconds),
        replaced=prepared.replaced,
    )


def command(
    config: Config,
    to: Annotated[str, typer.Option(help="Target: parquet:FOLDER, faiss:FOLDER, postgresql://HOST/DB#TABLE …")],
    space: Annotated[
        str | None, typer.Option(help="Export this space of the library instead of its active one.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Send every row again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent without sending it.")] = False,
    overrides: Overrides = None,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Send the library's vectors to a system that people query, and keep it in sync."""

    def job(spark: SparkSession, settings: Settings, progress: Progress) -> object:
        return run(spark, settings, to, space=space, full=full, dry_run=dry_run, progress=progress)

    reported(job, config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
