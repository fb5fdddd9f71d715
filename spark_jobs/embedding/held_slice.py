"""The work of a small run: one slice, whose rows in flight the driver holds, without a table of their own."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.staged import staged_vectors_table
from spark_jobs.embedding.active_chunks import find_active_chunks
from spark_jobs.embedding.reuse import needed_hashes, stored_rows
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.slices import commit_slice, counted_chunks
from spark_jobs.embedding.slicing import Work, next_slice, reading_pays
from spark_jobs.embedding.staging import (
    chunk_counts,
    chunk_rows,
    only_missing,
    only_planned,
    vector_counts,
    vector_rows,
)
from spark_jobs.embedding.tally import Tally
from spark_jobs.embedding.telling import tell_slice
from spark_jobs.runtime.held_rows import in_memory
from spark_jobs.runtime.parallelism import partition_count, task_slots
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import session_properties
from spark_jobs.store.properties import UNCOPIED_SOURCE


def embed_held(
    run: Run, work: Work, plan: DataFrame, vectors: DataFrame | None, tally: Tally, progress: Progress
) -> None:
    """Chunks, embeds and commits a run that is one small slice, without a table for what is in flight.

    Each step is evaluated once and its rows are held on the driver, so that both commits see the same ones.

    Args:
        run: The run.
        work: What it has to do.
        plan: Rows of its plan.
        vectors: The space's vectors; None if there are none.
        tally: Receives the slice once it is committed.
        progress: Where progress is shown.
    """
    slice_, _ = next_slice(work.groups, 1, work.tokens, run.settings.run.slice_rows)
    progress = progress.of_slice(1, 0, slice_.tokens, slice_.documents)
    with progress.step("chunk"):
        stored = only_planned(vectors, plan, slice_.documents) if vectors is not None else None
        active = find_active_chunks(run, work)
        rows, observed = chunk_rows(run, slice_, plan, stored, slots=1, active=active)
        chunks, chunked = in_memory(rows), chunk_counts(observed)
    counts = counted_chunks(slice_, chunked, progress)
    staged = run.tables.spark.createDataFrame([], staged_vectors_table(run.preflight.inference.model.precision).schema)
    if chunked["new"] and vectors is not None and reading_pays(chunked["new"], vectors.count()):
        with progress.step("reuse"):
            missing = F.broadcast(needed_hashes(chunks))
            staged = in_memory(stored_rows(run, slice_, vectors, missing))
    if chunked["new"]:
        with progress.step("embed"):
            missing = only_missing(chunks, staged)
            partitions = partition_count(slice_.tokens, task_slots(run.tables.spark))
            with progress.watching(run.tables.spark, partitions, slice_.tokens, chunked["tokens_new"]) as told:
                rows, observed = vector_rows(run, slice_, missing, partitions, told)
                staged = staged.unionByName(in_memory(rows))
            counts += vector_counts(run, observed, tally)
            counts["tokens_saved"] -= counts["tokens_embedded"]
    # Held too, so that MERGE needs no copy of its source to see the same rows again.
    with session_properties(run.tables.spark, UNCOPIED_SOURCE):
        commit_slice(run, slice_, plan, chunks, staged, progress, is_fresh=not chunked["stored"], is_held=True)
    tally.add_slice(counts, slice_.documents, slice_.tokens)
    tell_slice(slice_, work, tally, progress)
