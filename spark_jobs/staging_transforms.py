"""Steps from planned documents to staged rows: DataFrame in, DataFrame out."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.conform import conform
from schemas.staged_chunks import STAGED_CHUNKS

POSITION = ("chunk_index", "char_start", "char_end")


def has_chunk() -> Column:
    """Tells made chunks from stored ones and from texts without chunks.

    Returns:
        Whether the row is a chunk that was cut from the text that the run works on.
    """
    return F.col("is_made") & F.col("chunk_id").isNotNull()


def only_planned(vectors: DataFrame, plan: DataFrame) -> DataFrame:
    """Keeps the ids and positions of the stored chunks of planned documents; no vector is read.

    Args:
        vectors: The space's vectors.
        plan: Plan rows of the slice.

    Returns:
        Columns doc_id, chunk_id, chunk_index, char_start and char_end.
    """
    return vectors.select("doc_id", "chunk_id", *POSITION).join(plan.select("doc_id"), "doc_id", "left_semi")


def as_staged_chunks(made: DataFrame, stored: DataFrame | None, run_id: str, slice_number: int) -> DataFrame:
    """Puts the chunks that were cut now beside those that are stored.

    Args:
        made: Chunks as workers cut them; a text without chunks has one row without a chunk id.
        stored: Rows of `only_planned`; None where no chunk is stored.
        run_id: The run.
        slice_number: The slice.

    Returns:
        Rows of `staged_chunks`: each chunk once. A chunk that is both made and stored has the new position.
    """
    rows = made.withColumns({"is_made": F.lit(True), "is_stored": F.lit(False)})
    if stored is not None:
        old = stored.select("doc_id", "chunk_id", F.struct(*POSITION).alias("old"), F.lit(True).alias("stands"))
        rows = (
            rows.join(old, ["doc_id", "chunk_id"], "full_outer")
            .withColumns({name: F.coalesce(name, f"old.{name}") for name in POSITION})
            .withColumns(
                {
                    "is_made": F.coalesce("is_made", F.lit(False)),
                    "is_stored": F.coalesce("stands", F.lit(False)),
                }
            )
            .drop("old", "stands")
        )
    return conform(
        rows.withColumns({"run_id": F.lit(run_id), "slice_number": F.lit(slice_number)}), STAGED_CHUNKS.schema
    )


def only_missing(chunks: DataFrame, staged: DataFrame) -> DataFrame:
    """Keeps each text once for which a vector must be found.

    Args:
        chunks: Staged chunks of the slice; a chunk that is stored keeps its vector.
        staged: Staged vectors; those with a reason are tried again.

    Returns:
        Columns text_hash and text.
    """
    return (
        chunks.where(has_chunk() & ~F.col("is_stored"))
        .join(staged.where(F.col("reason").isNull()).select("text_hash"), "text_hash", "left_anti")
        .select("text_hash", "text")
        .dropDuplicates(["text_hash"])
    )
