"""The main job: brings the vectors of a space in step with its library.

First load, refresh and resume are the same run. Started as `embedlake embed --config F`, by
`spark-submit spark_jobs/embed_library.py --config F`, or in a live session:

    from spark_jobs.embed_library import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml")))
"""

from typing import Annotated

import typer
from pyspark.sql import SparkSession

from schemas.runs import FINISHED
from spark_jobs.embedding.opening import ensure_tables, open_run
from spark_jobs.embedding.plan import plan_run
from spark_jobs.embedding.preflight import preflight
from spark_jobs.embedding.reconcile import reconcile
from spark_jobs.embedding.report import RunReport, summarise
from spark_jobs.embedding.run import check_still_ours, record, recorded_end
from spark_jobs.embedding.self_check import check_model
from spark_jobs.embedding.slices import close_staged, embed_slices
from spark_jobs.embedding.tally import Tally
from spark_jobs.runtime.command import Config, Debug, Overrides, guarded, show, watched_session
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import session_properties
from spark_jobs.settings.loading import Settings
from spark_jobs.store.locks import space_lock
from spark_jobs.store.properties import for_rows
from spark_jobs.store.tables import delta_session

AllowRemovals = Annotated[
    bool, typer.Option("--allow-removals", help="Lets documents go beyond run.max_removed_fraction.")
]
RetryQuarantined = Annotated[
    bool, typer.Option("--retry-quarantined", help="Tries quarantined documents again, up to run.max_attempts.")
]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Goes on although another run has not ended; that one then stops.")
]


def run(
    spark: SparkSession,
    settings: Settings,
    *,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    take_over: bool = False,
    progress: Progress | None = None,
) -> RunReport:
    """Embeds what is new in a library and takes out what is gone.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        allow_removals: Whether documents may vanish beyond `run.max_removed_fraction`.
        retry_quarantined: Whether quarantined documents are tried again, within `run.max_attempts`.
        take_over: Whether to go on although another run has not ended; that one stops at its next commit.
        progress: Where progress is shown; nowhere when left out.

    Returns:
        What was done, ready to be printed.

    Raises:
        InputError: Something for the user to mend; nothing was written unless the message says so.
        SourceError: The source's columns or history do not fit.
        RunActiveError: Another run is at work, or has taken over.
        QuarantineLimitError: Too many documents could not be embedded; the others are committed.
        ReconciliationError: The tables do not agree after the last commit.
    """
    progress = progress or Progress()
    with delta_session(spark):
        with progress.step("pre-flight"):
            checked = preflight(spark, settings)
        with space_lock(settings, take_over), session_properties(spark, for_rows(checked.documents)):
            with progress.step("open"):
                checked = ensure_tables(spark, settings, checked)
                this = open_run(spark, settings, checked, take_over)
            tally = Tally(progress.seconds)
            with recorded_end(spark, this, tally):
                with progress.step("plan"):
                    work = plan_run(spark, this, allow_removals, retry_quarantined)
                progress.say(f"plan: {work}")
                progress.expect(work.tokens)
                if work.tokens:
                    with progress.step("self-check"):
                        check_model(spark, this)
                embed_slices(spark, this, work, tally, progress)
                with progress.step("reconcile"):
                    ledger = reconcile(spark, this, checked.documents)
                with progress.step("close"):
                    close_staged(spark, this, work)
                    check_still_ours(spark, this)
                report = summarise(this, work, tally, ledger)
                record(spark, this, FINISHED, report.counts, tally, plan=work.how)
    return report


def command(
    config: Config,
    overrides: Overrides = None,
    allow_removals: AllowRemovals = False,
    retry_quarantined: RetryQuarantined = False,
    take_over: TakeOver = False,
    debug: Debug = False,
) -> None:
    """Embeds what is new in the library and takes out what is gone."""

    def job(settings: Settings) -> None:
        with watched_session(settings, debug) as (spark, progress):
            report = run(
                spark,
                settings,
                allow_removals=allow_removals,
                retry_quarantined=retry_quarantined,
                take_over=take_over,
                progress=progress,
            )
        show(str(report))

    guarded(job, config, overrides, debug)


if __name__ == "__main__":
    typer.run(command)
