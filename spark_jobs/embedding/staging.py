"""Work in flight: chunks and new vectors, appended before anything becomes visible."""

from collections import Counter

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from schemas.plan import TRIED
from schemas.staged import CUT, READ_FIELDS, STAGED_CHUNKS, STAGED_VECTORS, staged_vectors_table
from schemas.table import conform
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.slicing import Slice
from spark_jobs.embedding.tally import Tally, meter_columns
from spark_jobs.runtime.inference import embed_rows
from spark_jobs.runtime.parallelism import CHUNKED_TOKENS_PER_SECOND, partition_count
from spark_jobs.runtime.progress import Progress
from udfs.chunk_documents import chunk_documents

POSITION = ("chunk_index", "char_start", "char_end")
# Ids or hashes that each task can hold in memory.
_FEW_KEYS = 250_000


def chunk_rows(
    run: Run, slice_: Slice, plan: DataFrame, stored: DataFrame | None, slots: int
) -> tuple[DataFrame, Observation]:
    """Cuts the slice's new texts into chunks, beside the stored chunks of the same documents.

    Args:
        run: The run.
        slice_: The slice.
        plan: Plan rows of the slice.
        stored: Rows of `only_planned`; None if the space has no vectors at all.
        slots: Tasks that run at the same time.

    Returns:
        Rows of `staged_chunks`, and what is observed once they are evaluated: see `chunk_counts`.
    """
    observed = Observation("chunking")
    made = run.tables.spark.createDataFrame([], CUT)
    if slice_.to_embed:
        partitions = partition_count(slice_.tokens, slots, slots * CHUNKED_TOKENS_PER_SECOND)
        cut = chunk_documents(run.settings.library, run.preflight.chunking, run.preflight.inference.model)
        made = (
            plan.where(F.col("change").isin(*TRIED))
            .select("doc_id", "text", "refused")
            # With an explicit number, adaptive execution does not merge the partitions for being small.
            .repartition(partitions, "doc_id")
            .mapInArrow(cut, CUT)
        )
    is_made = has_chunk()
    rows = as_staged_chunks(made, stored, run.run_id, slice_.number).observe(
        observed,
        F.count_if(is_made).alias("chunks"),
        F.count_if(is_made & ~F.col("is_stored")).alias("new"),
        F.coalesce(F.sum(F.when(is_made, F.col("token_count"))), F.lit(0)).alias("tokens"),
        F.count_if("is_stored").alias("stored"),
        F.coalesce(F.sum("unknown"), F.lit(0)).alias("unknown"),
        F.count_if("unread").alias("unread"),
    )
    return conform(rows.drop(*(field.name for field in READ_FIELDS)), STAGED_CHUNKS.schema), observed


def chunk_counts(observed: Observation) -> Counter[str]:
    """Returns what `chunk_rows` observed.

    Args:
        observed: Of rows that were evaluated.

    Returns:
        Counts: `chunks` that were cut, how many of them are `new` (not stored yet), `tokens` of all that were cut, how
        many of those are `unknown` to the model, `unread` chunks that it can hardly read for that reason, and `stored`
        chunks of the slice's documents.
    """
    return Counter({name: int(value) for name, value in observed.get.items()})


def stage_chunks(run: Run, slice_: Slice, plan: DataFrame, stored: DataFrame | None, slots: int) -> Counter[str]:
    """Appends the rows of `chunk_rows` to `staged_chunks`, and returns their `chunk_counts`."""
    rows, observed = chunk_rows(run, slice_, plan, stored, slots)
    # Another thread may be at the commits of the slice before, whose numbers are properties of the session.
    run.tables.append(rows, STAGED_CHUNKS, run.fence.options())
    return chunk_counts(observed)


def vector_rows(run: Run, slice_: Slice, texts: DataFrame, partitions: int) -> tuple[DataFrame, Observation]:
    """Embeds texts: the only place that creates vectors to store.

    Args:
        run: The run.
        slice_: The slice.
        texts: Rows of `only_missing`.
        partitions: Tasks to spread them over.

    Returns:
        Rows of `staged_vectors`, and what is observed once they are evaluated: see `vector_counts`.
    """
    observed = Observation("inference")
    embedded = embed_rows(texts.repartition(partitions, "text_hash"), run.preflight.inference, run.settings.inference)
    # Counted on the way, because a separate count() would run the model again.
    counted = embedded.observe(
        observed,
        F.count(F.lit(1)).alias("chunks_embedded"),
        F.coalesce(F.sum("token_count"), F.lit(0)).alias("tokens_embedded"),
        F.count("reason").alias("chunks_failed"),
        *meter_columns(),
    )
    return counted.withColumns(place_of(run, slice_)).select(*STAGED_VECTORS.schema.names), observed


def vector_counts(run: Run, observed: Observation, tally: Tally) -> Counter[str]:
    """Adds the inference that `vector_rows` observed to the tally.

    Args:
        run: The run.
        observed: Of rows that were evaluated.
        tally: Receives the slice's inference.

    Returns:
        Counts: chunks_embedded, tokens_embedded, chunks_failed; for int8 also values_clipped.
    """
    totals = observed.get
    tally.inference.add(totals)
    counts = Counter({name: int(totals[name]) for name in ("chunks_embedded", "tokens_embedded", "chunks_failed")})
    if run.preflight.inference.model.precision == "int8":
        counts["values_clipped"] = int(totals["clipped"])
    return counts


def stage_vectors(
    run: Run, slice_: Slice, chunks: DataFrame, staged: DataFrame, slots: int, tally: Tally, progress: Progress
) -> Counter[str]:
    """Embeds texts and appends their vectors to `staged_vectors`.

    Args:
        run: The run.
        slice_: The slice.
        chunks: Staged chunks of the slice.
        staged: Rows of `finished_vectors`.
        slots: Tasks that run at the same time.
        tally: Receives the slice's inference.
        progress: Where progress is shown.

    Returns:
        The slice's `vector_counts`.
    """
    spark, partitions = run.tables.spark, partition_count(slice_.tokens, slots, tally.tokens_per_second)
    rows, observed = vector_rows(run, slice_, only_missing(chunks, staged), partitions)
    with progress.watching(spark, partitions, slice_.tokens):
        run.tables.append(rows, staged_vectors_table(run.preflight.inference.model.precision), run.fence.options())
    return vector_counts(run, observed, tally)


def has_chunk() -> Column:
    """Whether a staged row is a chunk cut in this slice, not merely a stored chunk or a text without chunks."""
    return F.col("is_made") & F.col("chunk_id").isNotNull()


def place_of(run: Run, slice_: Slice) -> dict[str, Column]:
    """Returns the columns of `staged_vectors` that say which slice staged a row."""
    number = F.lit(slice_.number)
    return {"run_number": F.lit(run.claim.number).cast("long"), "slice_number": number.cast("int")}


def staged_by(run: Run, slice_: Slice) -> Column:
    """Builds the condition that this slice staged a row of `staged_vectors`; Delta skips the files of others."""
    return (F.col("run_number") == run.claim.number) & (F.col("slice_number") == slice_.number)


def as_keys(keys: DataFrame, count: int) -> DataFrame:
    """Has tasks look up the keys of a slice in memory if they are few: what is looked up is then not shuffled.

    Spark would decide by the size of files, which have texts beside the keys.
    """
    return F.broadcast(keys) if count <= _FEW_KEYS else keys


def only_planned(vectors: DataFrame, plan: DataFrame, documents: int) -> DataFrame:
    """Keeps ids and positions (doc_id, chunk_id, `POSITION`) of the planned documents' chunks; reads no vector."""
    planned = as_keys(plan.select("doc_id"), documents)
    return vectors.select("doc_id", "chunk_id", *POSITION).join(planned, "doc_id", "left_semi")


def as_staged_chunks(made: DataFrame, stored: DataFrame | None, run_id: str, slice_number: int) -> DataFrame:
    """Combines the chunks cut in this slice with those that are stored.

    Args:
        made: Chunks as workers cut them; a text without chunks has one row without a chunk id.
        stored: Rows of `only_planned`; None if no chunk is stored.
        run_id: The run.
        slice_number: Number of the slice.

    Returns:
        Rows of `staged_chunks` with `READ_FIELDS`, each chunk once. A chunk that is both new and stored has the new
        position.
    """
    rows = made.withColumns({"is_made": F.lit(True), "is_stored": F.lit(False)})
    if stored is not None:
        old = stored.select("doc_id", "chunk_id", F.struct(*POSITION).alias("old"), F.lit(True).alias("is_old"))
        rows = (
            rows.join(old, ["doc_id", "chunk_id"], "full_outer")
            .withColumns({name: F.coalesce(name, f"old.{name}") for name in POSITION})
            .withColumns(
                {
                    "is_made": F.coalesce("is_made", F.lit(False)),
                    "is_stored": F.coalesce("is_old", F.lit(False)),
                }
            )
            .drop("old", "is_old")
        )
    return rows.withColumns({"run_id": F.lit(run_id), "slice_number": F.lit(slice_number)})


def only_missing(chunks: DataFrame, staged: DataFrame) -> DataFrame:
    """Keeps each text that needs a vector, once (text_hash, text); a text that failed earlier is tried again."""
    return (
        chunks.where(has_chunk() & ~F.col("is_stored"))
        .join(staged.where(F.col("reason").isNull()).select("text_hash"), "text_hash", "left_anti")
        .select("text_hash", "text")
        .dropDuplicates(["text_hash"])
    )
