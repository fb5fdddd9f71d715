"""Work in flight: chunks, vectors found again and vectors made, appended before anything becomes visible."""

from collections import Counter

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from schemas.plan import TRIED
from schemas.staged import CHUNK_FIELDS, STAGED_CHUNKS, STAGED_VECTORS, staged_vectors_table
from schemas.table import conform
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.slicing import Slice, reading_pays
from spark_jobs.embedding.tally import Tally, meter_columns
from spark_jobs.runtime.inference import embed_rows
from spark_jobs.runtime.parallelism import CHUNKED_TOKENS_PER_SECOND, partition_count
from spark_jobs.runtime.progress import Progress
from udfs.chunk_documents import chunk_documents

POSITION = ("chunk_index", "char_start", "char_end")


def stage_chunks(
    spark: SparkSession, plan: DataFrame, stored: DataFrame | None, run: Run, part: Slice, slots: int
) -> Counter[str]:
    """Cuts the slice's new texts into chunks, and puts the documents' stored chunks beside them.

    Args:
        spark: The live session.
        plan: Plan rows of the slice.
        stored: Stored chunks of the slice's documents; None where the space has none at all.
        run: The run.
        part: The slice.
        slots: Tasks that run at the same time.

    Returns:
        Counts: `chunks` made now, `new` ones of these that are not stored, `tokens` of the made ones, and `stored`
        chunks of the slice's documents.
    """
    observed = Observation("chunking")
    made = spark.createDataFrame([], StructType(list(CHUNK_FIELDS)))
    if part.to_embed:
        partitions = partition_count(part.tokens, slots, slots * CHUNKED_TOKENS_PER_SECOND)
        cut = chunk_documents(run.settings.library, run.checked.chunking, run.checked.inference.model)
        made = (
            plan.where(F.col("change").isin(*TRIED))
            .select("doc_id", "text")
            # A number of partitions that adaptive execution leaves alone: it would judge by bytes and merge them.
            .repartition(partitions, "doc_id")
            .mapInArrow(cut, StructType(list(CHUNK_FIELDS)))
        )
    is_made = has_chunk()
    rows = as_staged_chunks(made, stored, run.run_id, part.number).observe(
        observed,
        F.count_if(is_made).alias("chunks"),
        F.count_if(is_made & ~F.col("is_stored")).alias("new"),
        F.coalesce(F.sum(F.when(is_made, F.col("token_count"))), F.lit(0)).alias("tokens"),
        F.count_if("is_stored").alias("stored"),
    )
    with run.fence.commit(spark):
        run.tables.append(rows, STAGED_CHUNKS.name)
    return Counter({name: int(value) for name, value in observed.get.items()})


def stage_reused(spark: SparkSession, chunks: DataFrame, staged: DataFrame, vectors: DataFrame, run: Run) -> None:
    """Copies the vectors of texts that stand in another chunk of the space, where that is the cheaper way.

    Args:
        spark: The live session.
        chunks: Staged chunks of the slice.
        staged: Staged vectors.
        vectors: The space's vectors before the run; what it has made since is staged.
        run: The run.
    """
    missing = only_missing(chunks, staged).select("text_hash")
    hashes = missing.join(vectors.select("text_hash"), "text_hash", "left_semi")
    texts = hashes.count()
    if not texts or not reading_pays(texts, vectors.count()):
        return
    found = (
        vectors.join(hashes, "text_hash", "left_semi")
        .groupBy("text_hash", "token_count", "truncated")
        .agg(F.min("embedding").alias("embedding"))
        .withColumns({"reason": F.lit(None).cast("string"), "detail": F.lit(None).cast("string")})
    )
    with run.fence.commit(spark):
        table = staged_vectors_table(run.checked.inference.model.precision)
        run.tables.append(conform(found, table.schema), table.name)


def stage_vectors(
    spark: SparkSession,
    chunks: DataFrame,
    staged: DataFrame,
    run: Run,
    part: Slice,
    slots: int,
    tally: Tally,
    progress: Progress,
) -> Counter[str]:
    """Embeds texts and appends their vectors to `staged_vectors`: the only place where the model runs for good.

    Args:
        spark: The live session.
        chunks: Staged chunks of the slice.
        staged: Staged vectors.
        run: The run.
        part: The slice.
        slots: Tasks that run at the same time.
        tally: What the run took so far; the inference of this slice is added.
        progress: Where progress is shown.

    Returns:
        Counts: chunks_embedded, tokens_embedded, chunks_failed.
    """
    partitions = partition_count(part.tokens, slots, tally.tokens_per_second)
    observed = Observation("inference")
    missing = only_missing(chunks, staged).repartition(partitions, "text_hash")
    rows = (
        embed_rows(missing, run.checked.inference, run.settings.inference)
        # Counted on the way to the table: a count() of its own would run the model again.
        .observe(
            observed,
            F.count(F.lit(1)).alias("chunks_embedded"),
            F.coalesce(F.sum("token_count"), F.lit(0)).alias("tokens_embedded"),
            F.count("reason").alias("chunks_failed"),
            *meter_columns(),
        )
        .select(*STAGED_VECTORS.schema.names)
    )
    with progress.watching(spark, partitions, part.tokens), run.fence.commit(spark):
        run.tables.append(rows, STAGED_VECTORS.name)
    found = observed.get
    tally.inference.add(found)
    return Counter({name: int(found[name]) for name in ("chunks_embedded", "tokens_embedded", "chunks_failed")})


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
