"""From source rows to planned work: DataFrames in, DataFrames out, no I/O."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from schemas.context import PART_END
from schemas.ledger import QUARANTINED, REDO
from schemas.plan import ADDED, CHANGED, PAYLOAD, REFUSED, REMOVED, RETRY, TRIED, plan_table
from schemas.reasons import INVALID_UTF8, MAX_BYTES, REASONS
from schemas.table import conform, quoted
from spark_jobs.embedding.payload_hash import payload_hash
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.refusals import REFUSED_COLUMN, refusal, too_large

# Fine enough to cut balanced slices, coarse enough that the driver easily holds one row for each key.
SLICE_KEYS = 4096
CHARACTERS_PER_TOKEN = 4
# Ids or hashes that each task can hold in memory.
_FEW_KEYS = 250_000
# Columns of the ledger that decide what a document's change is, and what it costs.
RECORDED = ("text_hash", "payload_hash", "status", "attempts", "chunk_count")


def _composed_text(source: SourceSettings) -> Column:
    parts = [F.when(F.col(quoted(name)) != "", F.col(quoted(name))) for name in source.text_names]
    return F.concat_ws(source.text_separator, *parts)


def _context(source: SourceSettings) -> Column:
    """Joins what the context of each chunk of a document begins with; null where it is nothing."""
    parts = [
        F.trim(F.regexp_replace(F.col(quoted(name)).cast("string"), r"\s+", " ")) for name in source.context_columns
    ]
    return F.nullif(F.concat_ws(PART_END, *(F.when(part != "", part) for part in parts)), F.lit(""))


def _text_fault(text: Column) -> Column:
    """Refuses a text that Python could not take; workers check the others."""
    size = F.octet_length(text)
    return F.when(size > MAX_BYTES, too_large(size, MAX_BYTES)).when(
        ~F.is_valid_utf8(text), refusal(INVALID_UTF8, F.lit(REASONS[INVALID_UTF8]))
    )


def as_documents(
    rows: DataFrame,
    source: SourceSettings,
    payload: Sequence[StructField],
    also: Mapping[str, Column] = MappingProxyType({}),
) -> DataFrame:
    """Builds documents from source rows.

    Args:
        rows: Rows of the source; they may have `REFUSED_COLUMN`.
        source: Which columns form a document and its context; null and empty ones are skipped.
        payload: Fields of the payload columns.
        also: Further columns by name.

    Returns:
        Columns doc_id, text (null if it is refused), context, refused, text_hash (of text and context), payload_hash
        and, with payload, payload; then the further ones.
    """
    text, refused = _composed_text(source), F.lit(None).cast(REFUSED)
    context = _context(source) if source.context_columns else F.lit(None).cast("string")
    # A text without context has the hash that it had before there were contexts.
    hashed = F.concat_ws("\0", text, context) if source.context_columns else text
    if REFUSED_COLUMN in rows.columns:
        refused = F.col(REFUSED_COLUMN)
        # Its text was not read; what is said of it changes with its size.
        hashed = F.when(refused.isNotNull(), refused["detail"]).otherwise(hashed)
    refused = F.coalesce(refused, _text_fault(text))
    columns = [
        F.col(quoted(source.id_name)).cast("string").alias("doc_id"),
        F.when(refused.isNull(), text).alias("text"),
        context.alias("context"),
        refused.alias("refused"),
        # Of bytes too, because it has to show whether a text that cannot be embedded changes.
        F.sha2(hashed.cast("binary"), 256).alias("text_hash"),
        payload_hash(payload).alias("payload_hash"),
        *(column.alias(name) for name, column in also.items()),
    ]
    if payload:
        columns.append(F.struct(*[F.col(quoted(field.name)).alias(field.name) for field in payload]).alias("payload"))
    return rows.select(columns)


def only_differing(
    documents: DataFrame, ledger: DataFrame, suspects: DataFrame | None = None, retry_below: int = 0
) -> DataFrame:
    """Keeps the documents whose hashes differ from the ledger, with the kind of change.

    Args:
        documents: Rows of `as_documents`.
        ledger: The space's ledger.
        suspects: Documents (`doc_id`) whose stored chunks may differ from what the ledger says; they are redone.
        retry_below: Quarantined documents with fewer attempts are tried again.

    Returns:
        The differing documents with `change`, `payload_changed`, `attempts` and `stored_chunks`; unchanged ones are
        dropped.
    """
    recorded = ledger.select("doc_id", F.struct(*RECORDED).alias("recorded"))
    rows = documents.join(recorded, "doc_id", "left")
    if suspects is not None:
        rows = rows.join(suspects.select("doc_id", F.lit(True).alias("suspect")), "doc_id", "left")
    return with_change(rows, retry_below).where(F.col("change").isNotNull()).drop("recorded", "suspect")


def with_change(rows: DataFrame, retry_below: int = 0) -> DataFrame:
    """Decides how documents differ from what the ledger records of them.

    Args:
        rows: Columns doc_id, text_hash, payload_hash, `recorded` (a struct of the ledger's columns, null for a document
            that it does not have) and, if there are suspects, `suspect`.
        retry_below: Quarantined documents with fewer attempts are tried again.

    Returns:
        The rows with `change` (null for unchanged ones), `payload_changed`, `attempts` and `stored_chunks`.
    """
    suspect = F.coalesce("suspect", F.lit(False)) if "suspect" in rows.columns else F.lit(False)
    same_text = F.col("recorded.text_hash") == F.col("text_hash")
    same_payload = F.col("recorded.payload_hash") == F.col("payload_hash")
    quarantined = F.col("recorded.status") == QUARANTINED
    change = (
        F.when(F.col("recorded").isNull(), ADDED)
        .when(~same_text, CHANGED)
        .when(suspect | (quarantined & (F.col("recorded.attempts") < retry_below)), RETRY)
        .when(~same_payload, PAYLOAD)
    )
    # A failed document's chunks kept their old payload; a suspect's chunks may have any.
    unlike = suspect | F.coalesce(quarantined | ~same_payload, F.lit(True))
    return rows.withColumns(
        {
            "change": change,
            "payload_changed": unlike | (F.col("recorded.text_hash") == REDO),
            "attempts": F.when(same_text, F.col("recorded.attempts")).otherwise(0),
            "stored_chunks": F.coalesce("recorded.chunk_count", F.lit(0)),
        }
    )


def only_removed(ledger: DataFrame, documents: DataFrame, suspects: DataFrame | None = None) -> DataFrame:
    """Keeps the documents of the space that the source no longer has.

    Args:
        ledger: The space's ledger.
        documents: The source's documents (`doc_id`).
        suspects: Documents (`doc_id`) that may have chunks without a ledger row.

    Returns:
        Columns doc_id, text_hash, payload_hash, attempts, `stored_chunks`, `change` and `payload_changed`.
    """
    chunks = F.col("chunk_count").alias("stored_chunks")
    stored = ledger.select("doc_id", "text_hash", "payload_hash", "attempts", chunks)
    if suspects is not None:
        without_row = suspects.select("doc_id").join(stored, "doc_id", "left_anti")
        stored = stored.unionByName(without_row, allowMissingColumns=True)
    return stored.join(documents.select("doc_id"), "doc_id", "left_anti").withColumns(
        {"change": F.lit(REMOVED), "payload_changed": F.lit(False)}
    )


def tokens_of(characters: Column) -> Column:
    """Estimates the tokens of a text of so many characters; null where they are null."""
    return F.ceil(characters / CHARACTERS_PER_TOKEN)


def as_plan(differing: DataFrame, removed: DataFrame, payload: Sequence[StructField]) -> DataFrame:
    """Combines the rows of `only_differing` and `only_removed` into rows of the plan table."""
    to_embed = F.col("change").isin(*TRIED)
    tokens = tokens_of(F.length("text"))
    rows = differing.unionByName(removed, allowMissingColumns=True).withColumns(
        {
            "slice_key": F.pmod(F.xxhash64("doc_id"), F.lit(SLICE_KEYS)).cast("int"),
            "estimated_tokens": F.when(to_embed, F.coalesce(tokens, F.lit(0))).otherwise(0).cast("long"),
            # A suspect without a ledger row may have any number.
            "stored_chunks": F.coalesce("stored_chunks", F.lit(0)),
            "text": F.when(to_embed, F.col("text")),
            "context": F.when(to_embed, F.col("context")),
            "refused": F.when(to_embed, F.col("refused")),
        }
    )
    if payload:
        rows = rows.withColumn("payload", F.col("payload").cast(StructType(list(payload))))
    # A slice is a range of keys: in sorted files, reading it skips the row groups of all other slices.
    return conform(rows, plan_table(payload).schema).sortWithinPartitions("slice_key")


def as_keys(keys: DataFrame, count: int) -> DataFrame:
    """Has tasks look up the keys of a slice in memory if they are few: what is looked up is then not shuffled.

    Spark would decide by the size of files, which have texts beside the keys.
    """
    return F.broadcast(keys) if count <= _FEW_KEYS else keys
