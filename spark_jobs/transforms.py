"""Steps from source rows to planned work: DataFrame in, DataFrame out, no I/O."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from schemas.conform import conform, quoted
from schemas.plan import ADDED, CHANGED, PAYLOAD, REMOVED, plan_table
from spark_jobs.settings import SourceSettings

# Fine enough to cut balanced slices, coarse enough that one row for each key fits the driver with ease.
SLICE_KEYS = 4096
CHARACTERS_PER_TOKEN = 4


def _composed_text(source: SourceSettings) -> Column:
    parts = [F.when(F.col(quoted(name)) != "", F.col(quoted(name))) for name in source.text_names]
    return F.concat_ws(source.text_separator, *parts)


def _payload_hash(payload: Sequence[StructField]) -> Column:
    if not payload:
        return F.sha2(F.lit(""), 256)
    # Written-out options: neither the session's time zone nor a null that became a missing key may look like a change.
    options = {"ignoreNullFields": "false", "timeZone": "UTC"}
    return F.sha2(F.to_json(F.struct(*[F.col(quoted(field.name)) for field in payload]), options), 256)


def as_documents(rows: DataFrame, source: SourceSettings, payload: Sequence[StructField]) -> DataFrame:
    """Composes documents from source rows.

    Args:
        rows: Rows of the source.
        source: Which columns make a document; missing and empty text columns are skipped.
        payload: The payload columns' fields.

    Returns:
        Columns doc_id, text (null where it is not valid UTF-8), text_hash, payload_hash and, with payload, payload.
    """
    text = _composed_text(source)
    columns = [
        F.col(quoted(source.id_name)).cast("string").alias("doc_id"),
        # Bytes that are not UTF-8 cannot reach Python; their hash still tells whether they change.
        F.when(F.is_valid_utf8(text), text).alias("text"),
        F.sha2(text.cast("binary"), 256).alias("text_hash"),
        _payload_hash(payload).alias("payload_hash"),
    ]
    if payload:
        columns.append(F.struct(*[F.col(quoted(field.name)).alias(field.name) for field in payload]).alias("payload"))
    return rows.select(columns)


def only_differing(documents: DataFrame, ledger: DataFrame) -> DataFrame:
    """Keeps the documents that differ from the ledger, by hashes alone, and says how.

    Args:
        documents: Rows of `as_documents`.
        ledger: The space's ledger.

    Returns:
        The differing documents with `change`, `payload_changed` and `attempts`; unchanged ones are dropped.
    """
    done = ledger.select(
        "doc_id",
        F.col("text_hash").alias("done_text_hash"),
        F.col("payload_hash").alias("done_payload_hash"),
        F.col("attempts").alias("done_attempts"),
    )
    change = (
        F.when(F.col("done_text_hash").isNull(), ADDED)
        .when(F.col("done_text_hash") != F.col("text_hash"), CHANGED)
        .when(F.col("done_payload_hash") != F.col("payload_hash"), PAYLOAD)
    )
    same_payload = F.col("done_payload_hash").eqNullSafe(F.col("payload_hash"))
    attempts = F.when(F.col("done_text_hash") == F.col("text_hash"), F.col("done_attempts")).otherwise(0)
    return (
        documents.join(done, "doc_id", "left")
        .withColumns({"change": change, "payload_changed": ~same_payload, "attempts": attempts})
        .where(F.col("change").isNotNull())
        .drop("done_text_hash", "done_payload_hash", "done_attempts")
    )


def only_removed(ledger: DataFrame, documents: DataFrame) -> DataFrame:
    """Keeps the ledger rows whose document the source no longer has.

    Args:
        ledger: The space's ledger.
        documents: Rows of `as_documents`.

    Returns:
        Columns doc_id, text_hash, payload_hash, attempts, `change` and `payload_changed`.
    """
    return (
        ledger.select("doc_id", "text_hash", "payload_hash", "attempts")
        .join(documents.select("doc_id"), "doc_id", "left_anti")
        .withColumns({"change": F.lit(REMOVED), "payload_changed": F.lit(False)})
    )


def as_plan(differing: DataFrame, removed: DataFrame, payload: Sequence[StructField]) -> DataFrame:
    """Brings the work of a run into the plan's columns.

    Args:
        differing: Rows of `only_differing`.
        removed: Rows of `only_removed`.
        payload: The payload columns' fields.

    Returns:
        Rows of the plan table.
    """
    to_embed = F.col("change").isin(ADDED, CHANGED)
    tokens = F.ceil(F.length("text") / CHARACTERS_PER_TOKEN)
    rows = differing.unionByName(removed, allowMissingColumns=True).withColumns(
        {
            "slice_key": F.pmod(F.xxhash64("doc_id"), F.lit(SLICE_KEYS)).cast("int"),
            "estimated_tokens": F.when(to_embed, F.coalesce(tokens, F.lit(0))).otherwise(0).cast("long"),
            "text": F.when(to_embed, F.col("text")),
        }
    )
    if payload:
        rows = rows.withColumn("payload", F.col("payload").cast(StructType(list(payload))))
    # Sorted files let a slice, which is a range of keys, skip the row groups of all others.
    return conform(rows, plan_table(payload).schema).sortWithinPartitions("slice_key")
