"""Slices, one after the other: chunk, embed, commit. Staged rows first, then vectors, then the ledger."""

from collections import Counter

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.runs import SLICE_COMMITTED
from schemas.staged import STAGED, STAGED_CHUNKS, STAGED_VECTORS
from spark_jobs.embedding.merging import as_ledger_changes, as_outcomes, as_vector_changes, merge_ledger, merge_vectors
from spark_jobs.embedding.run import Run, check_still_ours, record
from spark_jobs.embedding.slicing import Slice, Work, first_slice_tokens, next_slice, slice_bound, with_rest
from spark_jobs.embedding.staging import only_planned, stage_chunks, stage_reused, stage_vectors
from spark_jobs.embedding.tally import Tally
from spark_jobs.runtime.parallelism import task_slots
from spark_jobs.runtime.progress import Progress
from spark_jobs.store.versions import read_pinned
from udfs.models.source import weight_bytes


def embed_slices(spark: SparkSession, run: Run, work: Work, tally: Tally, progress: Progress) -> None:
    """Does the work of a run, slice by slice.

    Args:
        spark: The live session.
        run: The run.
        work: What it has to do.
        tally: Where the slices are added up.
        progress: Where progress is shown.
    """
    settings, groups, last = run.settings.run, work.groups, 0
    if not groups:
        return
    weights = weight_bytes(run.checked.inference.model)
    # A text that moves from one document to another may have left `vectors` by the slice that looks for it.
    before = read_pinned(run.tables, "vectors")
    while groups:
        # Clusters grow while a run is at work; over Connect, counting is a job of its own.
        slots = task_slots(spark)
        first = first_slice_tokens(weights, slots, settings.slice_seconds)
        left = sum(group.tokens for group in groups)
        rate = (last, work.tokens - left, tally.slice_seconds)
        bound = slice_bound(settings.slice_tokens, settings.slice_seconds, first, *rate)
        bound = with_rest(settings.slice_tokens, bound, left)
        part, groups = next_slice(groups, tally.counts["slices"] + 1, bound)
        embed_slice(spark, run, part, before, slots, tally, progress)
        progress.advance(tally.tokens, state_of(work, tally))
        progress.say(f"slice {part.number} committed: {state_of(work, tally)} · {rate_of(work, tally)}")
        last = part.tokens


def embed_slice(
    spark: SparkSession, run: Run, part: Slice, before: DataFrame, slots: int, tally: Tally, progress: Progress
) -> None:
    """Does one slice, whose documents become visible together.

    Args:
        spark: The live session.
        run: The run.
        part: The slice.
        before: The space's vectors as they were before the run's first slice.
        slots: Tasks that run at the same time.
        tally: Where the slice is added once it is committed.
        progress: Where progress is shown.
    """
    plan = run.tables.read("plan").where(F.col("slice_key").between(part.first_key, part.last_key))
    vectors = run.tables.read("vectors")
    here = (F.col("run_id") == run.run_id) & (F.col("slice_number") == part.number)
    chunks = run.tables.read(STAGED_CHUNKS.name).where(here)
    staged = run.tables.read(STAGED_VECTORS.name)
    with progress.step("chunk"):
        # Counted from Delta's log: no file is read.
        stored = only_planned(vectors, plan) if vectors.count() else None
        found = stage_chunks(spark, plan, stored, run, part, slots)
    counts: Counter[str] = Counter(chunks=found["chunks"], tokens_saved=found["tokens"])
    if found["new"]:
        if before.count():
            with progress.step("reuse"):
                stage_reused(spark, chunks, staged, before, run)
        with progress.step("embed"):
            counts += stage_vectors(spark, chunks, staged, run, part, slots, tally, progress)
            counts["tokens_saved"] -= counts["tokens_embedded"]
    _commit(spark, run, part, plan, chunks, staged, progress, is_fresh=not found["stored"])
    tally.add_slice(counts, part.documents, part.tokens)
    record(spark, run, SLICE_COMMITTED, counts, tally, part.number)


def state_of(work: Work, tally: Tally) -> str:
    """Renders what is committed."""
    chunks = tally.counts["chunks"]
    return f"{tally.documents:,} documents · {chunks:,} chunks · {tally.tokens:,} of about {work.tokens:,} tokens"


def rate_of(work: Work, tally: Tally) -> str:
    """Renders the rate of all slices so far, and the time left at that rate."""
    rate = tally.tokens_per_second
    left = (work.tokens - tally.tokens) / rate if rate else 0
    return f"{rate:,.0f} tokens/s · {left:,.0f} s left"


def _commit(
    spark: SparkSession,
    run: Run,
    part: Slice,
    plan: DataFrame,
    chunks: DataFrame,
    staged: DataFrame,
    progress: Progress,
    is_fresh: bool,
) -> None:
    payload, keep = run.checked.source.payload, run.settings.run.on_failed_update == "keep"
    check_still_ours(spark, run)
    with progress.step("merge vectors"), run.fence.commit(spark) as is_fenced:
        changes = as_vector_changes(plan, chunks, staged, payload, run.run_id, keep)
        merge_vectors(changes, run.tables, payload, is_fresh, is_fenced)
    with progress.step("merge ledger"), run.fence.commit(spark) as is_fenced:
        outcomes = as_outcomes(chunks, staged, keep)
        rows = as_ledger_changes(plan, outcomes, run.checked.source.version, run.run_id)
        merge_ledger(rows, run.tables, is_new=is_fenced and part.added == part.documents)
    # Delta passes over the commits of a run that was overtaken without a word: they may not count as done.
    check_still_ours(spark, run)


def close_staged(spark: SparkSession, run: Run, work: Work) -> None:
    """Empties the tables of work in flight, once everything in them is done.

    Args:
        spark: The live session.
        run: The run.
        work: What it had to do.
    """
    # A run that finished left them empty, and this one has put nothing in.
    if run.is_clean and not work.groups:
        return
    for table in ("plan", *(staged.name for staged in STAGED)):
        rows = run.tables.read(table)
        if rows.count():
            with run.fence.commit(spark):
                run.tables.replace(spark.createDataFrame([], rows.schema), table)
