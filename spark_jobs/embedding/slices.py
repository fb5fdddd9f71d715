"""Slices, one after the other: chunk, embed, commit. Staged rows first, then vectors, then the ledger."""

from collections import Counter
from pyspark.sql import DataFrame
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from schemas.runs import SLICE_COMMITTED
from schemas.staged import STAGED_CHUNKS
from schemas.staged import STAGED_VECTORS
from spark_jobs.embedding.run import check_still_ours
from spark_jobs.embedding.merging import merge_ledger
from spark_jobs.embedding.merging import merge_vectors
from spark_jobs.embedding.slicing import Slice
from spark_jobs.embedding.slicing import Work
from spark_jobs.embedding.slicing import next_slice
from spark_jobs.runtime.progress import Progress
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.run import record
from spark_jobs.runtime.parallelism import task_slots
from spark_jobs.embedding.slicing import first_slice_tokens
from spark_jobs.embedding.slicing import slice_bound
from spark_jobs.embedding.slicing import with_rest
from spark_jobs.embedding.merging import as_ledger_changes
from spark_jobs.embedding.merging import as_outcomes
from spark_jobs.embedding.merging import as_vector_changes
from schemas.staged import STAGED
from spark_jobs.embedding.staging import stage_chunks
from spark_jobs.embedding.staging import stage_reused
from spark_jobs.embedding.staging import stage_vectors
from spark_jobs.embedding.staging import only_planned
from spark_jobs.store.versions import read_pinned
from udfs.models.source import weight_bytes
from spark_jobs.store import tables

def embed_slices(spark: SparkSession, run: Run, work: Work, counts: Counter[str], progress: Progress) -> None:
    """Does the work of a run, slice by slice.

    Args:
        spark: The live session.
        run: The run.
        work: What it has to do.
        counts: Where the counts of `embed_slice` are summed up, and `slices`.
        progress: Where progress is shown.
    """
    settings, groups, last = run.settings.run, work.groups, 0
    if not groups:
        return
    weights = weight_bytes(run.checked.inference.model)
    # A text that moves from one document to another may have left `vectors` by the slice that looks for it.
    before = read_pinned(spark, run.place, "vectors")
    while groups:
        # Clusters grow while a run is at work; over Connect, counting is a job of its own.
        slots = task_slots(spark)
        first = first_slice_tokens(weights, slots, settings.slice_seconds)
        left = sum(group.tokens for group in groups)
        rate = (last, work.tokens - left, progress.slice_seconds)
        bound = slice_bound(settings.slice_tokens, settings.slice_seconds, first, *rate)
        bound = with_rest(settings.slice_tokens, bound, left)
        part, groups = next_slice(groups, counts["slices"] + 1, bound)
        counts.update(embed_slice(spark, run, part, before, slots, progress))
        counts["slices"] += 1
        last = part.tokens


def embed_slice(
    spark: SparkSession, run: Run, part: Slice, before: DataFrame, slots: int, progress: Progress
) -> Counter[str]:
    """Does one slice, whose documents become visible together.

    Args:
        spark: The live session.
        run: The run.
        part: The slice.
        before: The space's vectors as they were before the run's first slice.
        slots: Tasks that run at the same time.
        progress: Where progress is shown.

    Returns:
        Counts: chunks, chunks_embedded, chunks_failed, tokens_embedded, tokens_saved.
    """
    plan = tables.read(spark, run.place, "plan").where(F.col("slice_key").between(part.first_key, part.last_key))
    vectors = tables.read(spark, run.place, "vectors")
    here = (F.col("run_id") == run.run_id) & (F.col("slice_number") == part.number)
    chunks = tables.read(spark, run.place, STAGED_CHUNKS.name).where(here)
    staged = tables.read(spark, run.place, STAGED_VECTORS.name)
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
            counts += stage_vectors(spark, chunks, staged, run, part, slots, progress)
            counts["tokens_saved"] -= counts["tokens_embedded"]
    _commit(spark, run, part, plan, chunks, staged, progress, is_fresh=not found["stored"])
    progress.committed(part, counts)
    record(spark, run, SLICE_COMMITTED, counts, progress, part.number)
    return counts


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
        merge_vectors(changes, run.place, payload, is_fresh, is_fenced)
    with progress.step("merge ledger"), run.fence.commit(spark) as is_fenced:
        outcomes = as_outcomes(chunks, staged, keep)
        rows = as_ledger_changes(plan, outcomes, run.checked.source.version, run.run_id)
        merge_ledger(rows, run.place, is_new=is_fenced and part.added == part.documents)
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
        rows = tables.read(spark, run.place, table)
        if rows.count():
            with run.fence.commit(spark):
                tables.replace(spark.createDataFrame([], rows.schema), run.place, table)
