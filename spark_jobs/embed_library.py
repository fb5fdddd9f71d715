"""The main job: brings the vectors of a space in step with its library.

First load, refresh and resume are the same run. Started as `embedlake embed --config F`, by
`spark-submit spark_jobs/embed_library.py --config F`, or in a live session:

    from spark_jobs.embed_library import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml")))
"""

from collections import Counter
from contextlib import suppress

from pyspark.sql import SparkSession

from schemas.runs import FAILED, FINISHED, STARTED
from spark_jobs import store
from spark_jobs.plan_run import plan_run
from spark_jobs.preflight import preflight
from spark_jobs.progress import Progress
from spark_jobs.reconcile import reconcile
from spark_jobs.report import Report, summarise
from spark_jobs.runs import open_run, record
from spark_jobs.settings import Settings
from spark_jobs.slices import close_staged, embed_slice
from spark_jobs.space_tables import ensure_tables


def run(
    spark: SparkSession, settings: Settings, allow_removals: bool = False, progress: Progress | None = None
) -> Report:
    """Embeds what is new in a library and takes out what is gone.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        allow_removals: Whether documents may vanish beyond `run.max_removed_fraction`.
        progress: Where progress is shown; nowhere when left out.

    Returns:
        What was done, ready to be printed.

    Raises:
        InputError: Something for the user to mend; nothing was written unless the message says so.
        QuarantineLimitError: Too many documents could not be embedded; the others are committed.
        ReconciliationError: The tables do not agree after the last commit.
    """
    progress = progress or Progress()
    with store.delta_session(spark):
        with progress.step("pre-flight"):
            checked = preflight(spark, settings)
        with progress.step("open"):
            ensure_tables(spark, settings, checked)
            this = open_run(spark, settings, checked)
            record(spark, this, STARTED)
        counts: Counter[str] = Counter()
        try:
            with progress.step("plan"):
                work = plan_run(spark, this, allow_removals)
            progress.planned(work)
            for part in work.slices:
                counts += embed_slice(spark, this, part, len(work.slices), progress)
            with progress.step("reconcile"):
                ledger = reconcile(spark, this)
            with progress.step("close"):
                close_staged(spark, this, used=bool(work.slices))
            report = summarise(this, work, counts, ledger, progress.seconds)
            record(spark, this, FINISHED, counts=report.counts, seconds=report.seconds)
        except BaseException as error:
            # A session that died cannot record it, and must not hide why it died.
            with suppress(Exception):
                record(spark, this, FAILED, counts=counts, seconds=progress.seconds, message=type(error).__name__)
            raise
    return report


if __name__ == "__main__":
    from spark_jobs.cli import submit

    submit("embed")
