"""Steps from source rows to planned work: DataFrame in, DataFrame out, no I/O."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from schemas.ledger import QUARANTINED, REDO
from schemas.plan import ADDED, CHANGED, PAYLOAD, REMOVED, RETRY, TRIED, plan_table
from schemas.table import conform, quoted
from spark_jobs.settings.sections import SourceSettings

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


def only_differing(
    documents: DataFrame, ledger: DataFrame, suspects: DataFrame | None = None, retry_below: int = 0
) -> DataFrame:
    """Keeps the documents that differ from the ledger, by hashes alone, and says how.

    Args:
        documents: Rows of `as_documents`.
        ledger: The space's ledger.
        suspects: Documents (`doc_id`) whose stored chunks may not be what the ledger says: done again.
        retry_below: Quarantined documents with fewer attempts are tried again.

    Returns:
        The differing documents with `change`, `payload_changed` and `attempts`; unchanged ones are dropped.
    """
    done = ledger.select("doc_id", F.struct("text_hash", "payload_hash", "status", "attempts").alias("done"))
    rows = documents.join(done, "doc_id", "left")
    if suspects is None:
        rows = rows.withColumn("suspect", F.lit(False))
    else:
        marked = suspects.select("doc_id", F.lit(True).alias("suspect"))
        rows = rows.join(marked, "doc_id", "left").withColumn("suspect", F.coalesce("suspect", F.lit(False)))
    same_text = F.col("done.text_hash") == F.col("text_hash")
    same_payload = F.col("done.payload_hash") == F.col("payload_hash")
    quarantined = F.col("done.status") == QUARANTINED
    change = (
        F.when(F.col("done").isNull(), ADDED)
        .when(~same_text, CHANGED)
        .when(F.col("suspect") | (quarantined & (F.col("done.attempts") < retry_below)), RETRY)
        .when(~same_payload, PAYLOAD)
    )
    # The rows of a document that failed kept the payload they had, and a suspect's may have any.
    unlike = F.col("suspect") | F.coalesce(quarantined | ~same_payload, F.lit(True))
    return (
        rows.withColumns(
            {
                "change": change,
                "payload_changed": unlike | (F.col("done.text_hash") == REDO),
                "attempts": F.when(same_text, F.col("done.attempts")).otherwise(0),
            }
        )
        .where(F.col("change").isNotNull())
        .drop("done", "suspect")
    )


def only_removed(ledger: DataFrame, documents: DataFrame, suspects: DataFrame | None = None) -> DataFrame:
    """Keeps the documents of the space that the source no longer has.

    Args:
        ledger: The space's ledger.
        documents: Columns doc_id and others: the documents of the source.
        suspects: Documents that may have chunks without a ledger row.

    Returns:
        Columns doc_id, text_hash, payload_hash, attempts, `change` and `payload_changed`.
    """
    known = ledger.select("doc_id", "text_hash", "payload_hash", "attempts")
    if suspects is not None:
        unknown = suspects.select("doc_id").join(known, "doc_id", "left_anti")
        known = known.unionByName(unknown, allowMissingColumns=True)
    return known.join(documents.select("doc_id"), "doc_id", "left_anti").withColumns(
        {"change": F.lit(REMOVED), "payload_changed": F.lit(False)}
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
    to_embed = F.col("change").isin(*TRIED)
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
