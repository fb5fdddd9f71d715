"""Finished vectors that a slice can use: those of its own, of earlier slices and dead runs, and of stored chunks."""

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from schemas.staged import STAGED_VECTORS, staged_vectors_table
from schemas.table import conform
from spark_jobs.embedding.documents import as_keys
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.slicing import Slice, reading_pays
from spark_jobs.embedding.staging import has_chunk, only_missing, place_of, staged_by
from spark_jobs.runtime.progress import Progress
from spark_jobs.store.versions import PinnedVectors

_PLACE = ("run_number", "slice_number")


def find_vectors(
    run: Run, slice_: Slice, chunks: DataFrame, new: int, before: PinnedVectors | None, progress: Progress
) -> Column:
    """Finds the vectors that a slice need not compute, and copies those of stored chunks to `staged_vectors`.

    All hashes are read, but of the embeddings only those of places (a slice of this run or of a dead one, or the table
    `vectors`) where reading pays. A text whose vector lies elsewhere is embedded again.

    Args:
        run: The run.
        slice_: The slice.
        chunks: Staged chunks of the slice.
        new: How many of them need a vector.
        before: The space's vectors as they were before the first slice of the run; None if there were none.
        progress: Where progress is shown.

    Returns:
        The condition that the slice can use a row of `staged_vectors`, for `staged_rows`.
    """
    usable = staged_by(run, slice_)
    # A run that finished left the table empty.
    is_empty = run.is_clean and slice_.number == 1
    if not new or (is_empty and before is None):
        return usable
    with progress.step("reuse"):
        if not is_empty:
            usable = usable | _earlier(run, as_keys(needed_hashes(chunks), new))
        if before is not None and reading_pays(new, before.count):
            staged = staged_rows(run, usable)
            _stage_stored(run, slice_, as_keys(only_missing(chunks, staged).select("text_hash"), new), before)
    return usable


def staged_rows(run: Run, usable: Column) -> DataFrame:
    """Reads the rows of `staged_vectors` that meet a condition; the table exists since the plan was written."""
    return run.tables.read(STAGED_VECTORS.name).where(usable)


def _earlier(run: Run, hashes: DataFrame) -> Column:
    """Builds the condition that earlier slices or dead runs staged a row, where reading it pays."""
    staged = staged_rows(run, F.lit(True))
    return is_in([row for row in places_of(staged, hashes).collect() if reading_pays(row.texts, row.rows)])


def needed_hashes(chunks: DataFrame) -> DataFrame:
    """Keeps the hash of each text that needs a vector, once (text_hash)."""
    return chunks.where(has_chunk() & ~F.col("is_stored")).select("text_hash").distinct()


def places_of(staged: DataFrame, hashes: DataFrame) -> DataFrame:
    """Counts, for each slice that staged vectors, its `rows` and how many `texts` of these hashes it embedded."""
    is_needed = F.col("is_needed") & F.col("reason").isNull()
    return (
        staged.select(*_PLACE, "text_hash", "reason")
        .join(hashes.withColumn("is_needed", F.lit(True)), "text_hash", "left")
        .groupBy(*_PLACE)
        .agg(F.count(F.lit(1)).alias("rows"), F.count_if(is_needed).alias("texts"))
    )


def is_in(places: Iterable[Row]) -> Column:
    """Builds the condition that a row was staged at one of these places; Delta skips the files of others."""
    slices: dict[int | None, list[int]] = {}
    for place in places:
        slices.setdefault(place.run_number, []).append(place.slice_number)
    found = F.lit(False)
    for run_number, numbers in slices.items():
        # Rows that were staged before there were these columns.
        at = F.col("run_number").isNull()
        if run_number is not None:
            at = (F.col("run_number") == run_number) & F.col("slice_number").isin(numbers)
        found = found | at
    return found


def _stage_stored(run: Run, slice_: Slice, missing: DataFrame, before: PinnedVectors) -> None:
    """Copies the vectors of texts (text_hash) that occur in stored chunks, if reading these pays."""
    texts = before.rows.select("text_hash").join(missing, "text_hash", "left_semi").distinct().count()
    if not reading_pays(texts, before.count):
        return
    reused = stored_rows(run, slice_, before.rows, missing)
    run.tables.append(reused, staged_vectors_table(run.preflight.inference.model.precision), run.fence.options())


def stored_rows(run: Run, slice_: Slice, vectors: DataFrame, missing: DataFrame) -> DataFrame:
    """Builds rows of `staged_vectors` from the stored chunks with these texts (text_hash)."""
    reused = (
        vectors.join(missing, "text_hash", "left_semi")
        .groupBy("text_hash", "token_count", "truncated")
        .agg(F.min("embedding").alias("embedding"))
        .withColumns({"reason": F.lit(None).cast("string"), "detail": F.lit(None).cast("string")})
        .withColumns(place_of(run, slice_))
    )
    return conform(reused, staged_vectors_table(run.preflight.inference.model.precision).schema)
