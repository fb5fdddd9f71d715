"""A seeded sample of a library's documents, cut and embedded as a run would do it; nothing is written."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.staged import CUT
from schemas.vectors import model_text
from spark_jobs.embedding.documents import CHARACTERS_PER_TOKEN, as_documents
from spark_jobs.embedding.preflight import PreflightResult
from spark_jobs.embedding.sampling import measure_ranges
from spark_jobs.runtime.held_rows import in_memory
from spark_jobs.runtime.inference import embed_rows, load_on_workers
from spark_jobs.runtime.parallelism import CHUNKED_TOKENS_PER_SECOND, partition_count, task_slots
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.spark_errors import reading
from spark_jobs.settings.loading import Settings
from udfs.chunk_documents import CUTTABLE, chunk_documents
from udfs.specs import InferenceSpec

# What the driver holds of a sample: its texts in characters, and its vectors in bytes.
MOST_CHARACTERS = 50_000_000
MOST_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Sample:
    """Documents of the library.

    Attributes:
        characters: Length of each sampled document's text, by its id.
        certain: Ids of those that had to be in it.
        source_documents: Documents with a text in the source.
        source_characters: Length of their texts together.
        others: Documents with vectors in the baseline from which the drawn ones were drawn.
    """

    characters: Mapping[str, int]
    certain: frozenset[str]
    source_documents: int
    source_characters: int
    others: int

    @property
    def fraction(self) -> float:
        """Share of the other documents that was drawn; 1 if there are none."""
        return (len(self.characters) - len(self.certain)) / self.others if self.others else 1.0

    def ids(self, spark: SparkSession) -> DataFrame:
        """Returns the ids of the sampled documents as rows (`doc_id`)."""
        return _as_ids(spark, self.characters)


@dataclass(frozen=True)
class EmbeddedSample:
    """A sample as the candidate's model sees it.

    Attributes:
        rows: Columns chunk_id, doc_id and embedding, held by the driver.
        inference: The model, with its ranges if it stores int8.
        tokens: Tokens of each document that has chunks.
        chunks: Number of chunks.
        failed: Number of chunks that the model could not embed.
        embedded_tokens: Tokens that were embedded, each text once.
        seconds: How long that took, without loading the model.
        slots: Tasks that ran at the same time.
    """

    rows: DataFrame
    inference: InferenceSpec
    tokens: Mapping[str, int]
    chunks: int
    failed: int
    embedded_tokens: int
    seconds: float
    slots: int


def draw_sample(
    settings: Settings, preflight: PreflightResult, stored: DataFrame, wanted: Collection[str], count: int, seed: int
) -> Sample:
    """Draws documents that the source has with a text and the baseline with vectors.

    Args:
        settings: The whole configuration.
        preflight: What pre-flight found; its source is pinned.
        stored: Rows of the baseline's `vectors`.
        wanted: Ids of documents that have to be in the sample, at most `count`; those that do not exist are left out.
        count: Number of documents.
        seed: Decides which documents are drawn, by a hash of it and the id.

    Returns:
        The sample; it has fewer documents if the library has.

    Raises:
        InputError: The source cannot be read, or no document can be compared, or the texts are too long to be held.
    """
    spark = stored.sparkSession
    documents = as_documents(preflight.source.rows, settings.source, ()).where(F.col("text").isNotNull())
    lengths = documents.select("doc_id", F.length("text").cast("long").alias("characters"))
    with_vectors = stored.select("doc_id").distinct().withColumn("is_stored", F.lit(True))
    rows = lengths.join(with_vectors, "doc_id", "left")
    comparable, few = rows.where("is_stored").drop("is_stored"), F.broadcast(_as_ids(spark, wanted))
    drawn_first = (F.xxhash64(F.lit(seed).cast("long"), "doc_id"), "doc_id")
    with reading("the source"):
        totals = rows.agg(F.count(F.lit(1)), F.coalesce(F.sum("characters"), F.lit(0)), F.count("is_stored"))
        number, characters, stored_number = totals.collect()[0]
        # At most as many ids as the sample has documents.
        certain = comparable.join(few, "doc_id", "left_semi").collect()
        others = comparable.join(few, "doc_id", "left_anti").orderBy(*drawn_first)
        drawn = others.limit(max(0, count - len(certain))).collect()
    if not stored_number:
        raise InputError(
            "no document of the source has vectors in the active space, so there is nothing to compare. Run embedlake "
            "embed, or check source.path, source.table and source.filter."
        )
    sampled = {row.doc_id: row.characters for row in sorted([*certain, *drawn], key=lambda row: str(row.doc_id))}
    _check_held(sum(sampled.values()), MOST_CHARACTERS, "characters")
    names = frozenset(row.doc_id for row in certain)
    return Sample(sampled, names, int(number), int(characters), int(stored_number) - len(names))


def embed_sample(
    spark: SparkSession, settings: Settings, preflight: PreflightResult, sample: Sample, progress: Progress
) -> EmbeddedSample:
    """Cuts and embeds a sample with the settings' chunking rule and model.

    Args:
        spark: A live session.
        settings: The whole configuration.
        preflight: What pre-flight found.
        sample: The sample.
        progress: Where progress is shown, and what times the steps.

    Returns:
        The sample's chunks with their vectors.

    Raises:
        InputError: No text can be embedded, or the vectors are too many to be held.
    """
    inference, slots = preflight.inference, task_slots(spark)
    estimated = sum(sample.characters.values()) // CHARACTERS_PER_TOKEN
    if inference.model.precision == "int8":
        with progress.step("measure ranges"):
            inference = replace(inference, ranges=measure_ranges(settings, preflight))
    with progress.step("chunk"), reading("the source"):
        partitions = partition_count(estimated, slots, slots * CHUNKED_TOKENS_PER_SECOND)
        chunks = in_memory(_cut(spark, settings, preflight, sample, partitions))
        # A row for each sampled document.
        counts = chunks.groupBy("doc_id").agg(F.sum("token_count").alias("tokens"), F.count(F.lit(1)).alias("chunks"))
        documents = counts.collect()
    number = sum(row.chunks for row in documents)
    if not number:
        raise InputError("no text of the sample can be embedded. Check source.text_columns, or draw a larger --sample.")
    _check_held(number * inference.model.dimension * 4, MOST_BYTES, "bytes of vectors")
    # No fewer tasks than slots, which are as busy as in a full build then.
    partitions = max(partition_count(estimated, slots), min(slots, number))
    vectors = _embedded(chunks, inference, settings, partitions, estimated, progress)
    good = vectors.where(F.col("reason").isNull())
    rows = in_memory(chunks.join(good, "text_hash").select("chunk_id", "doc_id", "embedding"))
    return EmbeddedSample(
        rows=rows,
        inference=inference,
        tokens={row.doc_id: row.tokens for row in documents},
        chunks=number,
        failed=number - rows.count(),
        embedded_tokens=int(vectors.agg(F.coalesce(F.sum("token_count"), F.lit(0))).collect()[0][0]),
        seconds=progress.seconds["embed"],
        slots=slots,
    )


def _embedded(
    chunks: DataFrame,
    inference: InferenceSpec,
    settings: Settings,
    partitions: int,
    estimated: int,
    progress: Progress,
) -> DataFrame:
    """Embeds each text once, in workers that have loaded the model before, which the step therefore does not time."""
    spark = chunks.sparkSession
    with progress.step("load model"):
        load_on_workers(spark, inference, settings.inference, partitions)
    progress.expect(estimated)
    texts = chunks.select("text_hash", "text").dropDuplicates(["text_hash"]).repartition(partitions, "text_hash")
    with progress.step("embed"), progress.watching(spark, partitions, estimated, estimated) as told:
        rows = embed_rows(texts, inference, settings.inference, told)
        return in_memory(rows.select("text_hash", "token_count", "reason", "embedding"))


def hold_stored(stored: DataFrame, sample: Sample, dimension: int) -> DataFrame:
    """Holds the baseline's rows of the sampled documents: chunk_id, doc_id and embedding.

    Args:
        stored: Rows of the baseline's `vectors`.
        sample: The sample.
        dimension: Numbers in an embedding.

    Returns:
        The rows, held by the driver.

    Raises:
        InputError: They are too many.
    """
    ids = F.broadcast(sample.ids(stored.sparkSession))
    _check_held(stored.join(ids, "doc_id", "left_semi").count() * dimension * 4, MOST_BYTES, "bytes of vectors")
    return in_memory(stored.select("chunk_id", "doc_id", "embedding").join(ids, "doc_id", "left_semi"))


def _cut(
    spark: SparkSession, settings: Settings, preflight: PreflightResult, sample: Sample, partitions: int
) -> DataFrame:
    documents = as_documents(preflight.source.rows, settings.source, ()).select(*CUTTABLE)
    texts = documents.join(F.broadcast(sample.ids(spark)), "doc_id", "left_semi").repartition(partitions, "doc_id")
    cut = chunk_documents(settings.library, preflight.chunking, preflight.inference.model)
    made = texts.mapInArrow(cut, CUT).where(F.col("chunk_id").isNotNull())
    return made.select("doc_id", "chunk_id", "text_hash", model_text().alias("text"), "token_count")


def _as_ids(spark: SparkSession, ids: Collection[str]) -> DataFrame:
    return spark.createDataFrame([(name,) for name in sorted(ids)], "doc_id string")


def _check_held(size: int, most: int, what: str) -> None:
    if size > most:
        raise InputError(f"the sample has {size:,} {what}; at most {most:,} are held. Choose a smaller --sample.")
