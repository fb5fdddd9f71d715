"""Steps from a slice's staged rows to what is merged: DataFrame in, DataFrame out, plain scans and joins only.

Nothing here holds a UDF: Delta would evaluate it again for every pass of a MERGE.
"""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField

from schemas.conform import conform, quoted
from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED
from schemas.plan import ADDED, CHANGED, PAYLOAD, REMOVED
from schemas.reasons import INVALID_VECTOR
from schemas.vectors import vectors_table

UPSERT = "upsert"
DELETE = "delete"
# Columns that only guide a MERGE; the underscore keeps them apart from payload columns.
OPERATION = "_operation"
PAYLOAD_CHANGED = "_payload_changed"
POSITION = ("chunk_index", "char_start", "char_end")
_OLDER_SERVED = "; vectors of an earlier text are served"


def only_planned(vectors: DataFrame, plan: DataFrame) -> DataFrame:
    """Keeps the ids and positions of the stored chunks of planned documents; no vector is read.

    Args:
        vectors: The space's vectors.
        plan: Plan rows of the slice.

    Returns:
        Columns chunk_id, doc_id, chunk_index, char_start, char_end and change.
    """
    stored = vectors.select("chunk_id", "doc_id", *POSITION)
    return stored.join(plan.select("doc_id", "change"), "doc_id")


def only_missing(chunks: DataFrame, stored: DataFrame, staged: DataFrame) -> DataFrame:
    """Keeps each text once for which a vector must be found.

    Args:
        chunks: Staged chunks of the slice.
        stored: Rows of `only_planned`: a chunk that is stored keeps its vector.
        staged: Staged vectors; those with a reason are tried again.

    Returns:
        Columns text_hash and text.
    """
    return (
        chunks.where(F.col("chunk_id").isNotNull())
        .join(stored.select("chunk_id"), "chunk_id", "left_anti")
        .join(staged.where(F.col("reason").isNull()).select("text_hash"), "text_hash", "left_anti")
        .select("text_hash", "text")
        .dropDuplicates(["text_hash"])
    )


def as_outcomes(chunks: DataFrame, stored: DataFrame, staged: DataFrame) -> DataFrame:
    """Sums up what became of each document that was cut into chunks.

    Args:
        chunks: Staged chunks of the slice.
        stored: Rows of `only_planned`.
        staged: Staged vectors.

    Returns:
        Columns doc_id, status, reason, detail, chunk_count, token_count, truncated_count.
    """
    texts = staged.groupBy("text_hash").agg(
        F.bool_or(F.col("reason").isNull()).alias("found"),
        F.max("reason").alias("text_reason"),
        F.max("detail").alias("text_detail"),
    )
    kept = stored.select("chunk_id").withColumn("kept", F.lit(True))
    per_chunk = chunks.join(texts, "text_hash", "left").join(kept, "chunk_id", "left")
    lost = F.col("chunk_id").isNotNull() & ~F.coalesce("found", F.lit(False)) & F.col("kept").isNull()
    # A chunk without a vector and without a reason must never pass for embedded.
    reason = F.coalesce("reason", F.when(lost, F.coalesce("text_reason", F.lit(INVALID_VECTOR))))
    detail = F.coalesce("detail", F.when(lost, F.coalesce("text_detail", F.lit("no vector was staged"))))
    per_document = (
        per_chunk.withColumns({"why": reason, "how": detail})
        .groupBy("doc_id")
        .agg(
            F.min("why").alias("reason"),
            F.min_by("how", "why").alias("detail"),
            F.count("chunk_id").cast("int").alias("new_chunks"),
            F.coalesce(F.sum("token_count"), F.lit(0)).alias("token_count"),
            F.count_if("truncated").cast("int").alias("truncated_count"),
        )
        .join(stored.groupBy("doc_id").agg(F.count("*").cast("int").alias("old_chunks")), "doc_id", "left")
    )
    failed_document = F.col("reason").isNotNull()
    older = F.when(F.coalesce("old_chunks", F.lit(0)) > 0, _OLDER_SERVED).otherwise("")
    return per_document.select(
        "doc_id",
        F.when(failed_document, QUARANTINED).when(F.col("new_chunks") == 0, EMPTY).otherwise(EMBEDDED).alias("status"),
        "reason",
        F.concat("detail", older).alias("detail"),
        F.when(failed_document, F.coalesce("old_chunks", F.lit(0))).otherwise(F.col("new_chunks")).alias("chunk_count"),
        F.when(failed_document, 0).otherwise(F.col("token_count")).cast("long").alias("token_count"),
        F.when(failed_document, 0).otherwise(F.col("truncated_count")).alias("truncated_count"),
    )


def as_vector_changes(
    plan: DataFrame,
    chunks: DataFrame,
    stored: DataFrame,
    staged: DataFrame,
    outcomes: DataFrame,
    payload: Sequence[StructField],
    run_id: str,
) -> DataFrame:
    """Says for every chunk of the slice's documents what happens to its row.

    Args:
        plan: Plan rows of the slice.
        chunks: Staged chunks of the slice.
        stored: Rows of `only_planned`.
        staged: Staged vectors.
        outcomes: Rows of `as_outcomes`; quarantined documents keep the rows they have.
        payload: The payload columns' fields.
        run_id: Run that writes.

    Returns:
        Columns of the vectors table and the two guides; for stored chunks embedding, text and counts may be null.
    """
    # Any of equal texts would do, but MERGE may evaluate its source more than once: the choice must be the same.
    supply = staged.where(F.col("reason").isNull()).groupBy("text_hash").agg(F.min("embedding").alias("embedding"))
    good = outcomes.where(F.col("status") != QUARANTINED).select("doc_id")
    made = chunks.where(F.col("chunk_id").isNotNull()).join(good, "doc_id", "left_semi")
    repaid = stored.where(F.col("change") == PAYLOAD).drop("change")
    upserts = made.join(supply, "text_hash", "left").unionByName(repaid, allowMissingColumns=True)
    replaced = stored.where(F.col("change") == REMOVED).unionByName(stored.join(good, "doc_id", "left_semi"))
    deletes = replaced.join(made.select("chunk_id"), "chunk_id", "left_anti").select("chunk_id", "doc_id")
    values = {field.name: F.col(f"payload.{quoted(field.name)}") for field in payload} | {"run_id": F.lit(run_id)}
    columns = [values.get(name, F.col(quoted(name))).alias(name) for name in vectors_table(payload).schema.names]
    guides = [F.lit(UPSERT).alias(OPERATION), F.col("payload_changed").alias(PAYLOAD_CHANGED)]
    rows = upserts.drop("run_id").join(
        plan.select("doc_id", "payload_changed", *(["payload"] if payload else [])), "doc_id"
    )
    return rows.select(*columns, *guides).unionByName(
        deletes.withColumn(OPERATION, F.lit(DELETE)), allowMissingColumns=True
    )


def as_ledger_changes(plan: DataFrame, outcomes: DataFrame, source_version: int | None, run_id: str) -> DataFrame:
    """Says for every document of the slice what its ledger row becomes.

    Args:
        plan: Plan rows of the slice.
        outcomes: Rows of `as_outcomes`.
        source_version: Version of the source, where it has versions.
        run_id: Run that writes.

    Returns:
        Columns of the ledger and `_operation`, which is the document's change.
    """
    tried = F.col("change").isin(ADDED, CHANGED)
    rows = plan.join(outcomes, "doc_id", "left").withColumns(
        {
            "attempts": F.when(tried, F.col("attempts") + 1).otherwise(F.col("attempts")),
            "source_version": F.lit(source_version).cast("long"),
            "run_id": F.lit(run_id),
        }
    )
    return conform(rows.select(*LEDGER.schema.names), LEDGER.schema).join(
        plan.select("doc_id", F.col("change").alias(OPERATION)), "doc_id"
    )
