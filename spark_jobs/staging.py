"""Work in flight: chunks, vectors found again and vectors made, appended before anything becomes visible."""

from collections import Counter

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from schemas.conform import conform
from schemas.inference import inference_schema
from schemas.plan import TRIED
from schemas.staged_chunks import CHUNK_FIELDS, STAGED_CHUNKS
from schemas.staged_vectors import STAGED_VECTORS, staged_vectors_table
from spark_jobs import store
from spark_jobs.inference_summary import meter_columns
from spark_jobs.planning import CHUNKED_TOKENS_PER_SECOND, Slice, partition_count, reading_pays
from spark_jobs.progress import Progress
from spark_jobs.resources import inference_profile
from spark_jobs.runs import Run
from spark_jobs.staging_transforms import as_staged_chunks, has_chunk, only_missing
from udfs.chunk_documents import chunk_documents
from udfs.embed import embed_arrow


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
        store.append(rows, run.place, STAGED_CHUNKS.name)
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
        store.append(conform(found, table.schema), run.place, table.name)


def stage_vectors(
    spark: SparkSession, chunks: DataFrame, staged: DataFrame, run: Run, part: Slice, slots: int, progress: Progress
) -> Counter[str]:
    """Embeds texts and appends their vectors to `staged_vectors`: the only place where the model runs for good.

    Args:
        spark: The live session.
        chunks: Staged chunks of the slice.
        staged: Staged vectors.
        run: The run.
        part: The slice.
        slots: Tasks that run at the same time.
        progress: Where progress is shown.

    Returns:
        Counts: chunks_embedded, tokens_embedded, chunks_failed.
    """
    partitions = partition_count(part.tokens, slots, progress.tokens_per_second)
    inference, profile = run.checked.inference, inference_profile(spark, run.settings.inference)
    observed = Observation("inference")
    rows = (
        only_missing(chunks, staged)
        .repartition(partitions, "text_hash")
        .mapInArrow(embed_arrow(inference), inference_schema(inference.model.precision), profile=profile)
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
    with progress.watching(spark, part, partitions), run.fence.commit(spark):
        store.append(rows, run.place, STAGED_VECTORS.name)
    found = observed.get
    progress.inference.add(found)
    return Counter({name: int(found[name]) for name in ("chunks_embedded", "tokens_embedded", "chunks_failed")})
