"""A run from its pre-flight to its summary, for the jobs that embed: every step, one line each."""

from pyspark.sql import SparkSession

from schemas.runs import FINISHED
from spark_jobs.embedding.opening import create_tables, open_run, register_space
from spark_jobs.embedding.plan import plan_run
from spark_jobs.embedding.preflight import run_preflight
from spark_jobs.embedding.reconcile import reconcile
from spark_jobs.embedding.report import RunReport, summarise
from spark_jobs.embedding.run import Run, check_still_ours, record, recorded_end
from spark_jobs.embedding.self_check import check_model
from spark_jobs.embedding.slices import embed_slices, empty_work_tables
from spark_jobs.embedding.tally import Tally
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import session_properties
from spark_jobs.settings.loading import Settings
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.locks import space_lock
from spark_jobs.store.properties import for_rows
from spark_jobs.store.tables import delta_session
from spark_jobs.store.versions import pin_vectors


def refresh(
    spark: SparkSession,
    settings: Settings,
    *,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    take_over: bool = False,
    progress: Progress | None = None,
) -> RunReport:
    """Brings a space up to date with its library; `spark_jobs.embed_library.run` says how."""
    progress = progress or Progress()
    with delta_session(spark):
        with progress.step("pre-flight"):
            settings = with_file_system(spark, settings)
            preflight = run_preflight(spark, settings)
        with space_lock(settings, take_over), session_properties(spark, for_rows(preflight.documents)):
            with progress.step("open"):
                made = create_tables(spark, settings, preflight, progress.say)
                preflight = register_space(spark, settings, preflight, made)
                opened = open_run(spark, settings, preflight, made, take_over)
            return _carry_out(opened, allow_removals, retry_quarantined, progress)


def _carry_out(run: Run, allow_removals: bool, retry_quarantined: bool, progress: Progress) -> RunReport:
    tally = Tally(progress.seconds)
    with recorded_end(run, tally):
        with progress.step("plan"):
            work = plan_run(run, allow_removals, retry_quarantined)
        progress.say(f"plan: {work}")
        progress.expect(work.tokens)
        if work.groups:
            before = pin_vectors(run.tables)
            if work.tokens:
                with progress.step("self-check"):
                    check_model(run, before)
            embed_slices(run, work, before, tally, progress)
        with progress.step("reconcile"):
            ledger = reconcile(run, work)
        with progress.step("close"):
            # A run that was overtaken must not empty what the other one works on.
            check_still_ours(run)
            empty_work_tables(run, work)
        report = summarise(run, work, tally, ledger)
        record(run, FINISHED, report.counts, tally, plan=work.how)
    return report
