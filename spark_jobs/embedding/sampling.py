"""A reproducible sample of a library's chunks, and the int8 ranges measured on it."""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.staged import CUT
from schemas.vectors import model_text
from spark_jobs.embedding.documents import as_documents
from spark_jobs.embedding.preflight import PreflightResult
from spark_jobs.runtime.inference import embed_rows
from spark_jobs.runtime.spark_errors import reading
from spark_jobs.settings.loading import Settings
from spark_jobs.sources.source import Source
from udfs.chunk_documents import CUTTABLE, chunk_documents
from udfs.quantization import Ranges, settled_ranges
from udfs.specs import ChunkSpec, ModelSpec

# With this many texts, the lowest and highest value of each number hardly change anymore.
_TEXTS = 2048
# With this many documents, characters a token are known to a few per cent.
_COUNTED_DOCUMENTS = 500


def sample_chunks(settings: Settings, source: Source, chunking: ChunkSpec, model: ModelSpec, count: int) -> DataFrame:
    """Chunks documents of `drawn_documents`, so the sample is not just the first file or short texts.

    Args:
        settings: The whole configuration.
        source: The opened source.
        chunking: The chunking rule.
        model: The model whose tokenizer counts tokens.
        count: Maximum number of chunks, and of documents to cut for them.

    Returns:
        Column text: what the model sees of each chunk.
    """
    cut = chunk_documents(settings.library, chunking, model)
    chunks = drawn_documents(settings, source, count).mapInArrow(cut, CUT)
    return chunks.where(F.col("text").isNotNull()).select(model_text().alias("text")).limit(count)


def characters_per_token(settings: Settings, preflight: PreflightResult) -> float | None:
    """Cuts a few documents, without the model; returns characters for each token, or None if they have no text."""
    source, inference = preflight.source, preflight.inference
    texts = drawn_documents(settings, source, _COUNTED_DOCUMENTS)
    cut = chunk_documents(settings.library, preflight.chunking, inference.model)
    chunks = texts.mapInArrow(cut, CUT).where(F.col("text").isNotNull())
    with reading("the source"):
        documents = chunks.groupBy("doc_id").agg(F.max("char_end").alias("end"), F.sum("token_count").alias("tokens"))
        row = documents.agg(F.sum("end").alias("characters"), F.sum("tokens").alias("tokens")).collect()[0]
    return row.characters / row.tokens if row.tokens else None


def drawn_documents(settings: Settings, source: Source, count: int) -> DataFrame:
    """Draws documents by a hash of their id, so that they are not just the first file: columns `CUTTABLE`."""
    documents = as_documents(source.rows, settings.source, ())
    drawn = documents.where(F.col("text").isNotNull()).orderBy(F.xxhash64("doc_id"), "doc_id").limit(count)
    return drawn.select(*CUTTABLE)


def measure_ranges(settings: Settings, preflight: PreflightResult) -> Ranges:
    """Embeds a sample of the library and decides the range of each number: see `settled_ranges`.

    Raises InputError if no text of the library can be embedded.
    """
    inference = preflight.inference
    texts = sample_chunks(settings, preflight.source, preflight.chunking, inference.model, _TEXTS)
    # A text that repeats says nothing new about the ranges.
    hashed = texts.select(F.sha2("text", 256).alias("text_hash"), "text").dropDuplicates(["text_hash"]).repartition(1)
    exact = replace(inference, model=replace(inference.model, precision="float32"))
    rows = embed_rows(hashed, exact, settings.inference).where(F.col("reason").isNull())
    with reading("the source"):
        extremes = (
            rows.select(F.posexplode("embedding").alias("number", "value"))
            .groupBy("number")
            .agg(F.min("value").alias("low"), F.max("value").alias("high"), F.count(F.lit(1)).alias("texts"))
            .orderBy("number")
            .collect()
        )
    if not extremes:
        raise InputError(
            "model.precision int8 needs texts to measure its ranges on, and no text could be embedded. "
            "Check source.filter and source.text_columns."
        )
    low, high = [row.low for row in extremes], [row.high for row in extremes]
    return settled_ranges(low, high, extremes[0].texts, inference.model.normalize)
