"""A run from its pre-flight to its summary, for the jobs that embed: every step, one line each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NoReturn

from pyspark.sql import DataFrame, SparkSession

from schemas.errors import CapReachedError
from schemas.runs import FINISHED
from spark_jobs.embedding.accounting import AHEAD, as_counts, expect
from spark_jobs.embedding.cap import embedded_share, what_is_left
from spark_jobs.embedding.comparing import check_comparison, compare_source, find_half_done, is_in_step
from spark_jobs.embedding.comparison import Comparison
from spark_jobs.embedding.documents import CHARACTERS_PER_TOKEN
from spark_jobs.embedding.folder import check_files, require_parser, with_parsed
from spark_jobs.embedding.forecast import Forecast, TextLengths
from spark_jobs.embedding.held_slice import embed_held
from spark_jobs.embedding.opening import open_run, register_space
from spark_jobs.embedding.parsing import parse_folder
from spark_jobs.embedding.plan import Plan, as_work, plan_run
from spark_jobs.embedding.preflight import PreflightResult, run_preflight
from spark_jobs.embedding.reconcile import reconcile
from spark_jobs.embedding.report import RunReport, summarise
from spark_jobs.embedding.run import Run, check_still_ours, event_values, record, recorded_end
from spark_jobs.embedding.self_check import check_model
from spark_jobs.embedding.slices import embed_slices, empty_work_tables
from spark_jobs.embedding.slicing import Group
from spark_jobs.embedding.source_reading import SourceReading
from spark_jobs.embedding.store_state import StoreState, read_store
from spark_jobs.embedding.tally import Tally
from spark_jobs.embedding.telling import tell_finished, tell_plan, told_run
from spark_jobs.runtime.inference import load_on_workers
from spark_jobs.runtime.parallelism import partition_count, task_slots
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import session_properties
from spark_jobs.runtime.threads import beside
from spark_jobs.settings.loading import Settings
from spark_jobs.sources.source import check_ids
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.locks import SpaceLock, space_lock
from spark_jobs.store.properties import for_rows
from spark_jobs.store.tables import delta_session
from spark_jobs.store.versions import pin_vectors
from udfs.models.source import is_fake


def refresh(
    spark: SparkSession,
    settings: Settings,
    *,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    take_over: bool = False,
    progress: Progress | None = None,
    reading: SourceReading | None = None,
) -> RunReport:
    """Brings a space up to date with its library; `spark_jobs.embed_library.run` says how.

    The runs of several spaces can share the reading of their source.
    """
    progress = progress or Progress()
    progress.know(library=settings.library, space=settings.space)
    progress.figures.per_hour, progress.figures.currency = settings.cost.per_hour, settings.cost.currency
    retry_below = settings.run.max_attempts if retry_quarantined else 0
    with delta_session(spark):
        with progress.step("pre-flight"), session_properties(spark, for_rows(0)):
            settings = with_parsed(spark, with_file_system(spark, settings))
            preflight = run_preflight(spark, settings, reading, retry_quarantined)
        with space_lock(settings, take_over) as lock:
            with progress.step("compare"):
                with session_properties(spark, for_rows(0)):
                    state = read_store(spark, settings, preflight, take_over, progress.say)
                with session_properties(spark, for_rows(state.documents)):
                    found, documents = _compare(settings, preflight, state, allow_removals, retry_below)
            with session_properties(spark, for_rows(documents)):
                if found is not None and is_in_step(settings, state, found):
                    return _close_at_once(settings, preflight, state, found, lock, progress)
                loaded = _load_ahead(spark, settings, preflight, found)
                with progress.step("open"):
                    if not _is_registered_later(preflight):
                        preflight = register_space(spark, settings, preflight, state)
                    run = open_run(settings, preflight, state, lock)
                with told_run(run, progress):
                    return _carry_out(run, found, allow_removals, retry_below, progress, loaded)


def _load_ahead(
    spark: SparkSession, settings: Settings, preflight: PreflightResult, found: Comparison | None
) -> Callable[[], None] | None:
    """Has workers load the model while the run is opened and planned; returns a function that waits for them.

    Not while they cut chunks, which would then take other workers, so that more of them live than there are cores.
    """
    inference = preflight.inference
    if found is None or not found.tokens or is_fake(inference.model.path):
        return None
    slots = task_slots(spark)
    tasks = min(slots, partition_count(found.tokens, slots))
    return beside(spark, lambda: load_on_workers(spark, inference, settings.inference, tasks))


def _compare(
    settings: Settings, preflight: PreflightResult, state: StoreState, allow_removals: bool, retry_below: int
) -> tuple[Comparison | None, int]:
    """Compares source and ledger before anything is written; returns the comparison and the number of documents."""
    folder = preflight.folder
    if folder is not None and not allow_removals:
        check_files(settings, folder.counts, preflight.registry.row is None)
    if folder is not None and folder.counts.differ:
        require_parser(state.tables.spark, folder)
        # What is in the files is known once they are parsed.
        return None, folder.counts.files
    if not state.was_clean:
        # What an unfinished run may still commit must be shut out before the ledger is read.
        return None, check_ids(preflight.source, settings.source)
    found = compare_source(settings, preflight.source, preflight.reading, state, retry_below)
    check_comparison(settings, preflight.registry, found, allow_removals)
    return found, found.documents


def _close_at_once(
    settings: Settings,
    preflight: PreflightResult,
    state: StoreState,
    found: Comparison,
    lock: SpaceLock,
    progress: Progress,
) -> RunReport:
    """Ends a run that has nothing to do: the record of its end is its only commit."""
    tally, work = Tally(progress.seconds), as_work(preflight, found, ())
    if preflight.folder is not None:
        tally.counts["files"] = preflight.folder.counts.files
    tell_plan(work, progress)
    with progress.step("close"):
        report = summarise(preflight.inference, state.tables.name(state.vectors.name), work, tally, found.ledger)
        values = event_values(preflight, report.counts, tally, plan=work.how)
        run = open_run(settings, preflight, state, lock, FINISHED, values)
    with told_run(run, progress):
        report = replace(report, run_id=run.run_id)
        tell_finished(run, report, progress)
    return report


def _carry_out(
    run: Run,
    found: Comparison | None,
    allow_removals: bool,
    retry_below: int,
    progress: Progress,
    loaded: Callable[[], None] | None,
) -> RunReport:
    tally = Tally(progress.seconds)
    with recorded_end(run, tally):
        half_done = None
        if run.preflight.folder is not None:
            tally.counts["files"] = run.preflight.folder.counts.files
            run = _parse(run, bool(retry_below), tally, progress)
        if found is None:
            with progress.step("compare"):
                # Only now are they shut out that may still have been at work, so that no more is left half done.
                half_done = find_half_done(run.state)
                source, reading = run.preflight.source, run.preflight.reading
                found = compare_source(run.settings, source, reading, run.state, retry_below, half_done)
                check_comparison(run.settings, run.preflight.registry, found, allow_removals)
        plan, expected = _plan(run, found, half_done, retry_below, progress)
        if loaded is not None:
            with progress.step("load model"):
                loaded()
        left = _embed(run, plan, expected, tally, progress)
        if left:
            _end_at_cap(run, plan, left, expected, tally, progress)
        with progress.step("reconcile"):
            ledger = reconcile(run, plan)
        with progress.step("close"):
            # A run that was overtaken must not empty what the other one works on.
            check_still_ours(run)
            empty_work_tables(run, was_staged=bool(plan.work.groups) and plan.held is None)
        tally.counts.update(as_counts(expected, found.lengths, task_slots(run.tables.spark), progress.figures.seconds))
        name = run.tables.name(run.state.vectors.name)
        report = summarise(run.preflight.inference, name, plan.work, tally, ledger, run.run_id)
        record(run, FINISHED, report.counts, tally, plan=plan.work.how)
    tell_finished(run, report, progress)
    return report


def _parse(run: Run, retries: bool, tally: Tally, progress: Progress) -> Run:
    """Brings the table of parsed files in step with their folder; returns the run with that table as its source."""
    folder = run.preflight.folder
    if folder is None or (run.is_clean and not folder.counts.differ):
        return run
    progress.say(f"files: {folder.counts}")
    with progress.step("parse"):
        run = parse_folder(run, retries, tally, progress)
    if not _is_registered_later(run.preflight):
        return run
    with progress.step("open"):
        return replace(run, preflight=register_space(run.tables.spark, run.settings, run.preflight, run.state))


def _is_registered_later(preflight: PreflightResult) -> bool:
    """Whether a new space needs texts for the ranges of its numbers that are not parsed yet."""
    is_measured = preflight.inference.model.precision == "int8" and preflight.registry.row is None
    return is_measured and preflight.folder is not None and preflight.folder.counts.differ


def _plan(
    run: Run, found: Comparison, half_done: DataFrame | None, retry_below: int, progress: Progress
) -> tuple[Plan, Forecast]:
    """Reads what is to be done, and meanwhile forecasts what it will take."""
    spark = run.tables.spark
    with progress.step("plan"):
        ahead = sum(progress.seconds.get(step, 0.0) for step in AHEAD)
        # What nobody can forecast costs no statement.
        known = found if run.state.last is not None else replace(found, changes=None)
        expecting = beside(spark, lambda: expect(run.state, known, task_slots(spark), ahead))
        plan = plan_run(run, found, half_done, retry_below, progress.say)
        expected = expecting()
    tell_plan(plan.work, progress)
    progress.expect(plan.work.tokens, plan.work.planned)
    return plan, expected


def _end_at_cap(
    run: Run, plan: Plan, left: Sequence[Group], expected: Forecast, tally: Tally, progress: Progress
) -> NoReturn:
    """Ends a run whose cap leaves no room for its next slice; all that it staged is committed."""
    with progress.step("close"):
        check_still_ours(run)
        empty_work_tables(run, was_staged=True)
    lengths = TextLengths(tally.tokens * CHARACTERS_PER_TOKEN)
    tally.counts.update(as_counts(expected, lengths, task_slots(run.tables.spark), progress.figures.seconds))
    tally.counts.update(documents=tally.documents)
    share = embedded_share(plan.work, expected, tally.tokens, tally.counts["tokens_embedded"])
    raise CapReachedError(what_is_left(run.settings, run.run_id, tally.counts["slices"], left, share))


def _embed(run: Run, plan: Plan, expected: Forecast, tally: Tally, progress: Progress) -> Sequence[Group]:
    """Does the planned work; returns what is left of it because of a cap."""
    if not plan.work.groups:
        return ()
    tables = run.tables
    has_vectors = run.state.vectors.name in run.state.existing
    if plan.work.tokens and has_vectors:
        with progress.step("self-check"):
            check_model(run, tables.read("vectors"))
    if plan.held is not None:
        embed_held(run, plan.work, plan.held, tables.read("vectors") if has_vectors else None, tally, progress)
        return ()
    return embed_slices(run, plan.work, pin_vectors(tables) if has_vectors else None, expected, tally, progress)
