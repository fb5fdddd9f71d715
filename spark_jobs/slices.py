"""One slice: chunk, embed, commit. Staged rows first, then vectors, then the ledger."""

from collections import Counter

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from schemas.conform import conform
from schemas.plan import ADDED, CHANGED
from schemas.runs import SLICE_COMMITTED
from schemas.staged_chunks import CHUNK_FIELDS, STAGED_CHUNKS
from schemas.staged_vectors import STAGED_VECTORS
from spark_jobs import store
from spark_jobs.merges import merge_ledger, merge_vectors
from spark_jobs.planning import Slice, partition_count
from spark_jobs.progress import Progress
from spark_jobs.runs import Run, record
from spark_jobs.slice_transforms import (
    as_ledger_changes,
    as_outcomes,
    as_vector_changes,
    only_missing,
    only_planned,
)
from spark_jobs.space_tables import STAGED
from udfs.chunk_documents import chunk_documents
from udfs.embed import embed_arrow


def embed_slice(spark: SparkSession, run: Run, part: Slice, slice_count: int, progress: Progress) -> Counter[str]:
    """Does one slice, whose documents become visible together.

    Args:
        spark: The live session.
        run: The run.
        part: The slice.
        slice_count: Slices of the run.
        progress: Where progress is shown.

    Returns:
        Counts: chunks, chunks_embedded, tokens_embedded, chunks_failed.
    """
    source = run.checked.source
    plan = store.read(spark, run.place, "plan").where(F.col("slice_key").between(part.first_key, part.last_key))
    vectors = store.read(spark, run.place, "vectors")
    chunks = _staged_chunks(spark, run, part)
    staged = store.read(spark, run.place, STAGED_VECTORS.name)
    stored = only_planned(vectors, plan)
    is_first = vectors.isEmpty()
    is_fresh = is_first or stored.isEmpty()
    if is_fresh:
        # Spark drops every join with rows that it knows to be none: half of the steps of a first load.
        stored = spark.createDataFrame([], stored.schema)
    counts: Counter[str] = Counter()
    if part.to_embed:
        with progress.step("chunk"):
            counts["chunks"] = stage_chunks(plan, run, part)
        if not is_first:
            with progress.step("reuse"):
                stage_reused(only_missing(chunks, stored, staged), vectors, run)
        with progress.step("embed"):
            counts += stage_vectors(spark, only_missing(chunks, stored, staged), run, part, progress)
    outcomes = as_outcomes(chunks, stored, staged)
    with progress.step("merge vectors"):
        changes = as_vector_changes(plan, chunks, stored, staged, outcomes, source.payload, run.run_id)
        merge_vectors(changes, run.place, source.payload, insert_only=is_fresh)
    with progress.step("merge ledger"):
        # Evaluated anew, after the first commit: outcomes come out the same, for a document that was embedded now has
        # all of its chunks, and one that was not still has the rows it had.
        merge_ledger(as_ledger_changes(plan, outcomes, source.version, run.run_id), run.place)
    progress.committed(part, counts)
    record(spark, run, SLICE_COMMITTED, counts, progress.seconds, part.number, slice_count)
    return counts


def stage_chunks(plan: DataFrame, run: Run, part: Slice) -> int:
    """Cuts the slice's new texts into chunks and appends them to `staged_chunks`.

    Args:
        plan: Plan rows of the slice.
        run: The run.
        part: The slice.

    Returns:
        Number of chunks.
    """
    checked = run.checked
    observed = Observation("chunking")
    cut = chunk_documents(run.settings.library, checked.chunking, checked.inference.model)
    rows = (
        plan.where(F.col("change").isin(ADDED, CHANGED))
        .select("doc_id", "text")
        # A number of partitions that adaptive execution leaves alone: it would judge by bytes and merge them.
        .repartition(partition_count(part.tokens), "doc_id")
        .mapInArrow(cut, StructType(list(CHUNK_FIELDS)))
        .withColumns({"run_id": F.lit(run.run_id), "slice_number": F.lit(part.number)})
        .observe(observed, F.count("chunk_id").alias("chunks"))
    )
    store.append(conform(rows, STAGED_CHUNKS.schema), run.place, STAGED_CHUNKS.name)
    return int(observed.get["chunks"])


def stage_reused(missing: DataFrame, vectors: DataFrame, run: Run) -> None:
    """Copies the vectors of texts that stand in another chunk of the space, so that nothing is embedded twice.

    Args:
        missing: Texts for which a vector must be found.
        vectors: The space's vectors.
        run: The run.
    """
    hashes = missing.select("text_hash").join(vectors.select("text_hash"), "text_hash", "left_semi")
    if hashes.isEmpty():
        return
    found = (
        vectors.join(hashes, "text_hash", "left_semi")
        .groupBy("text_hash", "token_count", "truncated")
        .agg(F.min("embedding").alias("embedding"))
        .withColumns({"reason": F.lit(None).cast("string"), "detail": F.lit(None).cast("string")})
    )
    store.append(conform(found, STAGED_VECTORS.schema), run.place, STAGED_VECTORS.name)


def stage_vectors(spark: SparkSession, missing: DataFrame, run: Run, part: Slice, progress: Progress) -> Counter[str]:
    """Embeds texts and appends their vectors to `staged_vectors`: the only place where the model runs.

    Args:
        spark: The live session.
        missing: Texts for which no vector is stored or staged.
        run: The run.
        part: The slice.
        progress: Where progress is shown.

    Returns:
        Counts: chunks_embedded, tokens_embedded, chunks_failed.
    """
    partitions = partition_count(part.tokens)
    observed = Observation("inference")
    rows = (
        missing.repartition(partitions, "text_hash")
        .mapInArrow(embed_arrow(run.checked.inference), STAGED_VECTORS.schema)
        # Counted on the way to the table: a count() of its own would run the model again.
        .observe(
            observed,
            F.count(F.lit(1)).alias("chunks_embedded"),
            F.coalesce(F.sum("token_count"), F.lit(0)).alias("tokens_embedded"),
            F.count("reason").alias("chunks_failed"),
        )
    )
    with progress.watching(spark, part, partitions):
        store.append(rows, run.place, STAGED_VECTORS.name)
    return Counter({name: int(value) for name, value in observed.get.items()})


def close_staged(spark: SparkSession, run: Run, used: bool) -> None:
    """Empties the tables of work in flight, once the run that filled them has ended well.

    Args:
        spark: The live session.
        run: The run.
        used: Whether this run filled them; a run that was killed may have left rows as well.
    """
    for table in ("plan", *(staged.name for staged in STAGED)):
        rows = store.read(spark, run.place, table)
        if used or not rows.isEmpty():
            store.replace(spark.createDataFrame([], rows.schema), run.place, table)


def _staged_chunks(spark: SparkSession, run: Run, part: Slice) -> DataFrame:
    here = (F.col("run_id") == run.run_id) & (F.col("slice_number") == part.number)
    return store.read(spark, run.place, STAGED_CHUNKS.name).where(here)
