"""The ledger of a space: its counts, and where it disagrees with the vectors."""

from dataclasses import dataclass
from functools import reduce
from operator import xor

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.ledger import QUARANTINED, REDO


@dataclass(frozen=True)
class LedgerSummary:
    """Counts over a ledger.

    Attributes:
        statuses: Number of documents by status.
        reasons: Number of quarantined documents by reason.
        chunks: Chunks of all documents.
        truncated: Chunks written by the given run that the model saw only in part.
        wrong: Documents on which ledger and vectors disagree; 0 if only the ledger was read.
        written: Documents whose row the given run wrote.
        digest: `as_digest` of those rows.
    """

    statuses: dict[str, int]
    reasons: dict[str, int]
    chunks: int
    truncated: int
    wrong: int
    written: int = 0
    digest: int = 0

    @property
    def documents(self) -> int:
        """Number of documents in the ledger."""
        return sum(self.statuses.values())


def summarise_ledger(ledger: DataFrame, run_id: str = "") -> LedgerSummary:
    """Counts a ledger, or the rows of `compared`, in one pass; `run_id` is the run whose own rows are counted too."""
    # Without a run, neither ids nor hashes are read.
    is_written = F.col("run_id") == run_id if run_id else F.lit(False)
    cut = F.when(is_written, F.col("truncated_count")).otherwise(0)
    digest = F.col("digest") if "digest" in ledger.columns else _hashed()
    wrong = F.count_if("wrong") if "wrong" in ledger.columns else F.lit(0)
    groups = (
        ledger.groupBy("status", "reason")
        .agg(
            F.count(F.lit(1)).alias("documents"),
            F.coalesce(F.sum("chunk_count"), F.lit(0)).alias("chunks"),
            F.sum(cut).alias("truncated"),
            wrong.alias("wrong"),
            F.count_if(is_written).alias("written"),
            F.coalesce(F.bit_xor(F.when(is_written, digest)), F.lit(0)).alias("digest"),
        )
        .collect()
    )
    statuses: dict[str, int] = {}
    for group in groups:
        if group.status is not None:  # chunks without a row in the ledger have no status
            statuses[group.status] = statuses.get(group.status, 0) + group.documents
    return LedgerSummary(
        statuses=statuses,
        reasons={group.reason: group.documents for group in groups if group.status == QUARANTINED},
        chunks=sum(group.chunks for group in groups),
        truncated=sum(group.truncated for group in groups),
        wrong=sum(group.wrong for group in groups),
        written=sum(group.written for group in groups),
        digest=reduce(xor, (group.digest for group in groups), 0),
    )


def has_redo(ledger: DataFrame) -> bool:
    """Whether a repair marked documents to be done again; Delta skips all files of a ledger without such a hash."""
    return not ledger.where(F.col("text_hash") == REDO).isEmpty()


def as_digest(counts: Column) -> Column:
    """Builds the digest of the documents that count, with their hashes: an aggregate in which order does not matter."""
    return F.coalesce(F.bit_xor(F.when(counts, _hashed())), F.lit(0).cast("long"))


def _hashed() -> Column:
    return F.xxhash64("doc_id", "text_hash", "payload_hash")


def compared(ledger: DataFrame, vectors: DataFrame) -> DataFrame:
    """Compares what the ledger says about each document with what is stored; reads no vector.

    Column `wrong` of the result is true if a document does not have exactly one row in the ledger, has a different
    number of chunks from the one in that row, or has chunks of a later run.
    """
    claims = ledger.groupBy("doc_id").agg(
        F.count(F.lit(1)).alias("ledger_rows"),
        F.min("status").alias("status"),
        F.min("reason").alias("reason"),
        F.sum("chunk_count").alias("chunk_count"),
        F.sum("truncated_count").alias("truncated_count"),
        F.max("run_id").alias("run_id"),
        _run_number().alias("claimed_in"),
        as_digest(F.lit(True)).alias("digest"),
    )
    chunks = vectors.groupBy("doc_id").agg(F.count(F.lit(1)).alias("stored"), _run_number().alias("stored_in"))
    wrong = (
        F.col("ledger_rows").isNull()
        | (F.col("ledger_rows") > 1)
        | ~F.coalesce("chunk_count", F.lit(0)).eqNullSafe(F.coalesce("stored", F.lit(0)))
        | F.coalesce(F.col("stored_in") > F.col("claimed_in"), F.lit(False))
    )
    return claims.join(chunks, "doc_id", "full_outer").withColumn("wrong", wrong)


def suspects(ledger: DataFrame, vectors: DataFrame) -> DataFrame:
    """Finds the doc_id of documents that a run left half done: their new chunks are in, their ledger row is not."""
    return compared(ledger, vectors).where("wrong").select("doc_id")


def _run_number() -> Column:
    return F.max(F.substring_index("run_id", ".", -1).cast("long"))
