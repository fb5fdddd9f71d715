"""The main job: brings the vectors of a space in step with its library.

First load, refresh and resume are the same run. Started as `embedlake embed --config F`, by
`spark-submit spark_jobs/embed_library.py --config F`, or in a live session:

    from spark_jobs.embed_library import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml")))
"""

from collections import Counter

from pyspark.sql import SparkSession

from schemas.runs import FINISHED
from spark_jobs import store
from spark_jobs.claims import check_still_ours, open_run
from spark_jobs.delta_properties import for_rows
from spark_jobs.endings import recorded_end
from spark_jobs.locks import space_lock
from spark_jobs.plan_run import plan_run
from spark_jobs.preflight import preflight
from spark_jobs.progress import Progress
from spark_jobs.reconcile import reconcile
from spark_jobs.report import Report, summarise
from spark_jobs.runs import record
from spark_jobs.self_check import check_model
from spark_jobs.session_properties import session_properties
from spark_jobs.settings import Settings
from spark_jobs.slices import close_staged, embed_slices
from spark_jobs.space_tables import ensure_tables


def run(
    spark: SparkSession,
    settings: Settings,
    *,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    take_over: bool = False,
    progress: Progress | None = None,
) -> Report:
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
    with store.delta_session(spark):
        with progress.step("pre-flight"):
            checked = preflight(spark, settings)
        with space_lock(settings, take_over), session_properties(spark, for_rows(checked.documents)):
            with progress.step("open"):
                checked = ensure_tables(spark, settings, checked)
                this = open_run(spark, settings, checked, take_over)
            counts: Counter[str] = Counter()
            with recorded_end(spark, this, counts, progress):
                with progress.step("plan"):
                    work = plan_run(spark, this, allow_removals, retry_quarantined)
                progress.planned(work)
                if work.tokens:
                    with progress.step("self-check"):
                        check_model(spark, this)
                embed_slices(spark, this, work, counts, progress)
                with progress.step("reconcile"):
                    ledger = reconcile(spark, this, checked.documents)
                with progress.step("close"):
                    close_staged(spark, this, work)
                    check_still_ours(spark, this)
                report = summarise(this, work, counts, ledger, progress)
                record(spark, this, FINISHED, report.counts, progress, plan=work.how)
    return report


if __name__ == "__main__":
    from spark_jobs.cli import submit

    submit("embed")
