"""Source and ledger compared, before a run writes anything: what differs, and whether ids identify documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, DataType, NumericType, StringType, StructField

from schemas.ledger import EMBEDDED, EMPTY, QUARANTINED
from schemas.plan import CHANGED, CHANGES, REMOVED, TRIED, UNCHANGED
from schemas.reasons import REASONS
from schemas.table import quoted
from spark_jobs.embedding.documents import RECORDED, as_documents, tokens_of, with_change
from spark_jobs.embedding.forecast import TextLengths
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.faulty_rows import is_faulty
from spark_jobs.sources.source import Source
from spark_jobs.store.ledger import LedgerSummary, as_digest

# Ids and hashes of so many documents are some 25 MB on the driver, and small enough for every task to look up.
MOST_CHANGES = 100_000
_STATUSES = (EMBEDDED, EMPTY, QUARANTINED)
# What a document that is compared has: how often its id occurs, and what decides whether it changed.
COMPARED = ("doc_id", "n", "is_faulty", "text_hash", "payload_hash", "characters", "bytes")
_DECIDED = ("doc_id", "change", "text_hash", "payload_hash", "payload_changed", "attempts", "stored_chunks")
# An edit touches one or two chunks of a document: of 52 articles with an edited sentence, 90 of 184 were new.
_EDITED_CHUNKS = 2


@dataclass(frozen=True)
class Comparison:
    """How source and ledger differ.

    Attributes:
        documents: Documents in the source.
        ledger: What the ledger contains.
        by_change: Documents by change, without unchanged ones.
        tokens: Estimated tokens to embed.
        lengths: Characters to embed.
        bytes: Bytes of ids and payload of the documents that differ.
        stored_chunks: Rows that `vectors` has of them.
        digest: `as_digest` of those that get a row in the ledger.
        changes: Columns doc_id, change, text_hash, payload_hash, payload_changed, attempts, stored_chunks, and
            characters, of the documents that differ; None if there are more than `MOST_CHANGES`.
        are_ids_sound: Whether every row of the source is a document with an id of its own.
        how: How the differences were found, in words.
        feed: First and last version of the change feed that has the differences; None for a full comparison.
    """

    documents: int
    ledger: LedgerSummary
    by_change: dict[str, int]
    tokens: int
    lengths: TextLengths
    bytes: int
    stored_chunks: int
    digest: int
    changes: pa.Table | None
    are_ids_sound: bool
    how: str = "full comparison"
    feed: tuple[int, int] | None = None

    @property
    def planned(self) -> int:
        """Documents that differ."""
        return sum(self.by_change.values())

    @property
    def all_changes(self) -> dict[str, int]:
        """Documents by change, unchanged ones included."""
        return {**self.by_change, UNCHANGED: self.documents - (self.planned - self.by_change[REMOVED])}


def hashed_documents(
    rows: DataFrame,
    source: SourceSettings,
    payload: Sequence[StructField],
    also: Mapping[str, Column] = MappingProxyType({}),
) -> DataFrame:
    """Keeps of each source row what a comparison needs.

    Args:
        rows: Rows of the source, or of its change feed.
        source: Settings of the source.
        payload: Fields of the payload columns.
        also: Further columns by name.

    Returns:
        Columns doc_id, is_faulty, text_hash, payload_hash, characters and bytes (of id and payload); then the further
        ones.
    """
    sizes = {"is_faulty": is_faulty(rows), "payload_bytes": _payload_bytes(payload)}
    documents = as_documents(rows, source, payload, {**sizes, **also})
    size = F.coalesce(F.octet_length("doc_id"), F.lit(0)) + F.col("payload_bytes")
    length = F.coalesce(F.length("text"), F.lit(0)).cast("long").alias("characters")
    names = ("doc_id", "is_faulty", "text_hash", "payload_hash")
    return documents.select(*names, length, size.cast("long").alias("bytes"), *also)


def _payload_bytes(payload: Sequence[StructField]) -> Column:
    sizes = [_bytes(F.col(quoted(field.name)), field.dataType) for field in payload]
    return sum(sizes, F.lit(0))


def _bytes(value: Column, kind: DataType) -> Column:
    if isinstance(kind, NumericType):
        return F.lit(8)
    text = value if isinstance(kind, StringType | BinaryType) else F.to_json(F.struct(value))
    return F.coalesce(F.octet_length(text), F.lit(0))


def grouped_documents(settings: SourceSettings, source: Source) -> DataFrame:
    """Hashes every document of the source: columns `COMPARED`, one row for each id, and one for each broken row."""
    return (
        hashed_documents(source.rows, settings, source.payload)
        .groupBy("doc_id", "is_faulty")
        .agg(
            F.count(F.lit(1)).alias("n"),
            *(F.max(name).alias(name) for name in ("text_hash", "payload_hash")),
            *(F.sum(name).alias(name) for name in ("characters", "bytes")),
        )
    )


def compare_all(
    documents: DataFrame, ledger: DataFrame, suspects: DataFrame | None = None, retry_below: int = 0
) -> Comparison:
    """Compares every document of the source with the ledger: one pass over both, and one more if documents differ.

    Args:
        documents: Rows of `grouped_documents`.
        ledger: The space's ledger.
        suspects: Documents (`doc_id`) whose stored chunks may differ from what the ledger says; they are redone.
        retry_below: Quarantined documents with fewer attempts are tried again.

    Returns:
        The comparison.
    """
    return compare(documents, ledger.select("doc_id", as_recorded()), suspects, retry_below)


def as_recorded() -> Column:
    """Builds the column `recorded`, which holds what a comparison needs of a row of the ledger."""
    return F.struct(*RECORDED, "reason").alias("recorded")


def compare(
    documents: DataFrame, recorded: DataFrame, suspects: DataFrame | None = None, retry_below: int = 0
) -> Comparison:
    """Compares documents with the rows that the ledger has of them, or should have.

    Args:
        documents: Columns `COMPARED`, one row for each id.
        recorded: Columns doc_id and `recorded`.
        suspects: Documents (`doc_id`) to be redone.
        retry_below: Quarantined documents with fewer attempts are tried again.

    Returns:
        The comparison.
    """
    rows = documents.join(recorded, "doc_id", "full_outer")
    if suspects is not None:
        marked = suspects.select("doc_id", F.lit(True).alias("suspect"))
        rows = rows.join(marked, "doc_id", "full_outer")
    rows = with_change(rows, retry_below)
    is_gone = F.col("n").isNull()
    # Only the name of a removed document matters.
    rows = rows.withColumns(
        {
            "change": F.when(is_gone, REMOVED).otherwise(F.col("change")),
            "payload_changed": ~is_gone & F.col("payload_changed"),
            "attempts": F.coalesce("attempts", F.lit(0)),
        }
    )
    # Not observed on the way to the rows: Spark loses that where a later step finds no row at all.
    found = rows.agg(*_totals()).collect()[0].asDict()
    planned = sum(found[change] for change in CHANGES)
    few = None
    if planned <= MOST_CHANGES:
        differing = rows.where(F.col("change").isNotNull()).select(*_DECIDED, "characters")
        few = differing.toArrow() if planned else to_arrow_schema(differing.schema).empty_table()
    return Comparison(
        documents=found["documents"],
        ledger=_ledger_of(found),
        by_change={change: found[change] for change in CHANGES},
        tokens=found["tokens"],
        lengths=TextLengths(found["characters"], found["changed_characters"], found["kept_characters"]),
        bytes=found["bytes"],
        stored_chunks=found["stored_chunks"],
        digest=found["digest"],
        changes=few,
        are_ids_sound=not found["unsound"],
    )


def _totals() -> list[Column]:
    change = F.col("change")
    is_document = F.col("n").isNotNull()
    unsound = F.col("is_faulty") | F.col("doc_id").isNull() | ~F.is_valid_utf8("doc_id") | (F.col("n") > 1)
    status, reason = F.col("recorded.status"), F.col("recorded.reason")
    length, is_tried, is_changed = F.col("characters"), change.isin(*TRIED), change == CHANGED
    kept = length * (1 - _EDITED_CHUNKS / F.greatest("stored_chunks", F.lit(_EDITED_CHUNKS)))
    return [
        _sum(F.col("n")).alias("documents"),
        F.count_if(is_document & F.coalesce(unsound, F.lit(True))).alias("unsound"),
        *(F.count_if(change == name).alias(name) for name in CHANGES),
        _sum(F.when(is_tried, tokens_of(length))).alias("tokens"),
        _sum(F.when(is_tried, length)).alias("characters"),
        _sum(F.when(is_changed, length)).alias("changed_characters"),
        _sum(F.when(is_changed, kept)).alias("kept_characters"),
        _sum(F.when(change.isNotNull(), F.coalesce("bytes", F.octet_length("doc_id")))).alias("bytes"),
        _sum(F.when(change.isNotNull(), F.col("stored_chunks"))).alias("stored_chunks"),
        as_digest(change.isNotNull() & (change != REMOVED)).alias("digest"),
        _sum(F.col("recorded.chunk_count")).alias("chunks"),
        *(F.count_if(status == name).alias(name) for name in _STATUSES),
        *(F.count_if((status == QUARANTINED) & (reason == name)).alias(f"reason_{name}") for name in REASONS),
    ]


def _sum(values: Column) -> Column:
    return F.coalesce(F.sum(values), F.lit(0)).cast("long")


def _ledger_of(found: dict[str, int]) -> LedgerSummary:
    return LedgerSummary(
        statuses={status: found[status] for status in _STATUSES if found[status]},
        reasons={reason: found[f"reason_{reason}"] for reason in REASONS if found[f"reason_{reason}"]},
        chunks=found["chunks"],
        truncated=0,
        wrong=0,
    )
