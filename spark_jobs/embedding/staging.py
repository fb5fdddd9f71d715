"""Work in flight: chunks and new vectors, appended before anything becomes visible."""

from collections import Counter
from pathlib import Path

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from schemas.plan import TRIED
from schemas.staged import CUT, READ_FIELDS, STAGED_CHUNKS, STAGED_VECTORS, staged_vectors_table
from schemas.table import conform
from schemas.vectors import model_text
from spark_jobs.embedding.active_chunks import ActiveChunks, same_documents, taken_chunks
from spark_jobs.embedding.documents import as_keys
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.slicing import Slice
from spark_jobs.embedding.tally import Tally, meter_columns
from spark_jobs.runtime.inference import embed_rows
from spark_jobs.runtime.parallelism import CHUNKED_TOKENS_PER_SECOND, partition_count
from spark_jobs.runtime.progress import Progress
from udfs.chunk_documents import CUTTABLE, chunk_documents

POSITION = ("chunk_index", "char_start", "char_end")
# Counted, not stored: whether a chunk is the active space's.
_IS_TAKEN = "is_taken"


def chunk_rows(
    run: Run, slice_: Slice, plan: DataFrame, stored: DataFrame | None, slots: int, active: ActiveChunks | None
) -> tuple[DataFrame, Observation]:
    """Cuts the slice's new texts into chunks, beside the stored chunks of the same documents.

    Texts that the library's active space has cut by the same rule are not cut again, where reading its chunks pays.

    Args:
        run: The run.
        slice_: The slice.
        plan: Plan rows of the slice.
        stored: Rows of `only_planned`; None if the space has no vectors at all.
        slots: Tasks that run at the same time.
        active: The library's active space, if it has the same chunking rule; see `find_active_chunks`.

    Returns:
        Rows of `staged_chunks`, and what is observed once they are evaluated: see `chunk_counts`.
    """
    observed = Observation("chunking")
    made = run.tables.spark.createDataFrame([], CUT).withColumn(_IS_TAKEN, F.lit(False))
    if slice_.to_embed:
        texts = plan.where(F.col("change").isin(*TRIED))
        if active is not None and active.pays_for(slice_):
            same = same_documents(active, texts, slice_.to_embed)
            taken = taken_chunks(active, same, slice_.to_embed).withColumn(_IS_TAKEN, F.lit(True))
            texts = texts.join(as_keys(same, slice_.to_embed), "doc_id", "left_anti")
            made = _cut(run, slice_, texts, slots).unionByName(taken)
        else:
            made = _cut(run, slice_, texts, slots)
    is_made = has_chunk()
    rows = as_staged_chunks(made, stored, run.run_id, slice_.number).observe(
        observed,
        F.count_if(is_made).alias("chunks"),
        F.count_if(is_made & ~F.col("is_stored")).alias("new"),
        F.coalesce(F.sum(F.when(is_made, F.col("token_count"))), F.lit(0)).alias("tokens"),
        F.coalesce(F.sum(F.when(is_made & ~F.col("is_stored"), F.col("token_count"))), F.lit(0)).alias("tokens_new"),
        F.count_if("is_stored").alias("stored"),
        F.coalesce(F.sum("unknown"), F.lit(0)).alias("unknown"),
        F.count_if("unread").alias("unread"),
        F.count_if(_IS_TAKEN).alias("taken"),
        F.coalesce(F.sum(F.when(F.col(_IS_TAKEN), F.col("token_count"))), F.lit(0)).alias("tokens_taken"),
    )
    return conform(rows.drop(*(field.name for field in READ_FIELDS), _IS_TAKEN), STAGED_CHUNKS.schema), observed


def _cut(run: Run, slice_: Slice, texts: DataFrame, slots: int) -> DataFrame:
    """Has workers cut planned texts: rows of `CUT`, and that none of them is taken from another space."""
    partitions = partition_count(slice_.tokens, slots, slots * CHUNKED_TOKENS_PER_SECOND)
    cut = chunk_documents(run.settings.library, run.preflight.chunking, run.preflight.inference.model)
    # With an explicit number, adaptive execution does not merge the partitions for being small.
    spread = texts.select(*CUTTABLE).repartition(partitions, "doc_id")
    return spread.mapInArrow(cut, CUT).withColumn(_IS_TAKEN, F.lit(False))


def chunk_counts(observed: Observation) -> Counter[str]:
    """Returns what `chunk_rows` observed.

    Args:
        observed: Of rows that were evaluated.

    Returns:
        Counts: `chunks` of the texts, how many of them are `new` (not stored yet), `tokens` of all and of the new ones
        (`tokens_new`), how many of the chunks are `taken` from the active space and how many tokens these have
        (`tokens_taken`). Of those that were cut: tokens that are `unknown` to the model, and `unread` chunks that it
        can hardly read for that reason. And `stored` chunks of the slice's documents.
    """
    return Counter({name: int(value) for name, value in observed.get.items()})


def stage_chunks(
    run: Run, slice_: Slice, plan: DataFrame, stored: DataFrame | None, slots: int, active: ActiveChunks | None
) -> Counter[str]:
    """Appends the rows of `chunk_rows` to `staged_chunks`, and returns their `chunk_counts`."""
    rows, observed = chunk_rows(run, slice_, plan, stored, slots, active)
    # Another thread may be at the commits of the slice before, whose numbers are properties of the session.
    run.tables.append(rows, STAGED_CHUNKS, run.fence.options())
    return chunk_counts(observed)


def vector_rows(
    run: Run, slice_: Slice, texts: DataFrame, partitions: int, told: Path | None = None
) -> tuple[DataFrame, Observation]:
    """Embeds texts: the only place that creates vectors to store.

    Args:
        run: The run.
        slice_: The slice.
        texts: Rows of `only_missing`.
        partitions: Tasks to spread them over.
        told: File in which tasks count their tokens; see `Progress.watching`.

    Returns:
        Rows of `staged_vectors`, and what is observed once they are evaluated: see `vector_counts`.
    """
    observed = Observation("inference")
    spread = texts.repartition(partitions, "text_hash")
    embedded = embed_rows(spread, run.preflight.inference, run.settings.inference, told)
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
    run: Run,
    slice_: Slice,
    chunks: DataFrame,
    staged: DataFrame,
    slots: int,
    tally: Tally,
    progress: Progress,
    chunked: Counter[str],
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
        chunked: The slice's `chunk_counts`.

    Returns:
        The slice's `vector_counts`.
    """
    spark, partitions = run.tables.spark, partition_count(slice_.tokens, slots, tally.tokens_per_second)
    with progress.watching(spark, partitions, slice_.tokens, chunked["tokens_new"]) as told:
        rows, observed = vector_rows(run, slice_, only_missing(chunks, staged), partitions, told)
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
        .select("text_hash", model_text().alias("text"))
        .dropDuplicates(["text_hash"])
    )
