"""What the ledger says of a space, in a handful of numbers."""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.ledger import QUARANTINED


@dataclass(frozen=True)
class LedgerSummary:
    """Counts over a ledger.

    Attributes:
        statuses: Documents by status.
        reasons: Quarantined documents by reason.
        chunks: Chunks of all documents.
        truncated: Chunks that the given run wrote and of which the model saw only the beginning.
        wrong: Documents about which ledger and vectors disagree, where both were looked at.
    """

    statuses: dict[str, int]
    reasons: dict[str, int]
    chunks: int
    truncated: int
    wrong: int

    @property
    def documents(self) -> int:
        """Documents of the ledger."""
        return sum(self.statuses.values())


def summarise_ledger(ledger: DataFrame, run_id: str = "") -> LedgerSummary:
    """Counts a ledger in one pass.

    Args:
        ledger: A space's ledger, or the rows of `reconcile.compared`.
        run_id: Run whose truncated chunks are counted.

    Returns:
        The counts.
    """
    cut = F.when(F.col("run_id") == run_id, F.col("truncated_count")).otherwise(0)
    wrong = F.count_if("wrong") if "wrong" in ledger.columns else F.lit(0)
    groups = (
        ledger.groupBy("status", "reason")
        .agg(
            F.count(F.lit(1)).alias("documents"),
            F.coalesce(F.sum("chunk_count"), F.lit(0)).alias("chunks"),
            F.sum(cut).alias("truncated"),
            wrong.alias("wrong"),
        )
        .collect()
    )
    statuses: dict[str, int] = {}
    for group in groups:
        if group.status is not None:  # chunks without a ledger row have none
            statuses[group.status] = statuses.get(group.status, 0) + group.documents
    return LedgerSummary(
        statuses=statuses,
        reasons={group.reason: group.documents for group in groups if group.status == QUARANTINED},
        chunks=sum(group.chunks for group in groups),
        truncated=sum(group.truncated for group in groups),
        wrong=sum(group.wrong for group in groups),
    )


def _run_number() -> Column:
    return F.max(F.substring_index("run_id", ".", -1).cast("long"))


def compared(ledger: DataFrame, vectors: DataFrame) -> DataFrame:
    """Puts what the ledger says of each document beside what is stored of it; no vector is read.

    Args:
        ledger: The space's ledger.
        vectors: The space's vectors.

    Returns:
        Columns doc_id, status, reason, chunk_count, truncated_count, run_id, stored and `wrong`: whether the document
        has no ledger row or several, another number of chunks than its row says, or chunks of a later run than it.
    """
    claims = ledger.groupBy("doc_id").agg(
        F.count(F.lit(1)).alias("ledger_rows"),
        F.min("status").alias("status"),
        F.min("reason").alias("reason"),
        F.sum("chunk_count").alias("chunk_count"),
        F.sum("truncated_count").alias("truncated_count"),
        F.max("run_id").alias("run_id"),
        _run_number().alias("claimed_in"),
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
    """Finds the documents that a run left half done: new chunks are in, the ledger does not say so yet.

    Args:
        ledger: The space's ledger.
        vectors: The space's vectors.

    Returns:
        Column doc_id.
    """
    return compared(ledger, vectors).where("wrong").select("doc_id")
