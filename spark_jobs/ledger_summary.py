"""What the ledger says of a space, in a handful of numbers."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
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
