"""The check at the end of every run: source, ledger and vectors agree."""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import QuarantineLimitError, ReconciliationError
from schemas.ledger import LEDGER, QUARANTINED
from spark_jobs import store
from spark_jobs.ledger_summary import LedgerSummary, summarise_ledger
from spark_jobs.runs import Run


def disagreements(ledger: DataFrame, vectors: DataFrame) -> DataFrame:
    """Finds documents whose ledger row and vectors do not agree; no vector is read.

    Args:
        ledger: The space's ledger.
        vectors: The space's vectors.

    Returns:
        Columns doc_id, ledger_rows, claimed and stored; no rows where all is well.
    """
    claims = ledger.groupBy("doc_id").agg(F.count(F.lit(1)).alias("ledger_rows"), F.sum("chunk_count").alias("claimed"))
    chunks = vectors.groupBy("doc_id").agg(F.count(F.lit(1)).alias("stored"))
    return claims.join(chunks, "doc_id", "full_outer").where(
        F.col("ledger_rows").isNull()
        | (F.col("ledger_rows") > 1)
        | ~F.coalesce("claimed", F.lit(0)).eqNullSafe(F.coalesce("stored", F.lit(0)))
    )


def reconcile(spark: SparkSession, run: Run) -> LedgerSummary:
    """Fails the run unless every document of the source has one ledger row, and every row its chunks.

    Args:
        spark: The live session.
        run: The run.

    Returns:
        What the ledger holds.

    Raises:
        ReconciliationError: They do not agree; documents are named.
        QuarantineLimitError: Too many documents could not be embedded; the others are committed.
    """
    ledger = store.read(spark, run.place, LEDGER.name)
    wrong = disagreements(ledger, store.read(spark, run.place, "vectors")).orderBy("doc_id").limit(5).collect()
    if wrong:
        shown = ", ".join(f"{row.doc_id!r} (ledger {row.claimed}, stored {row.stored})" for row in wrong)
        raise ReconciliationError(f"ledger and vectors disagree, such as for {shown}: run again")
    summary = summarise_ledger(ledger, run.run_id)
    if summary.documents != run.checked.documents:
        raise ReconciliationError(
            f"the ledger has {summary.documents} documents, the source had {run.checked.documents} when the run began: "
            "the source changed meanwhile; run again"
        )
    _check_quarantined(summary, run)
    return summary


def _check_quarantined(summary: LedgerSummary, run: Run) -> None:
    limit = run.settings.run.max_quarantined_fraction
    count = summary.statuses.get(QUARANTINED, 0)
    if summary.documents and count / summary.documents > limit:
        shown = ", ".join(f"{reason}: {number}" for reason, number in sorted(summary.reasons.items()))
        raise QuarantineLimitError(
            f"{count} of {summary.documents} documents are quarantined ({shown}), more than "
            f"run.max_quarantined_fraction {limit} allows; all others are embedded. See them by "
            f"SELECT doc_id, reason, detail FROM {run.place.name(LEDGER.name)} WHERE status = '{QUARANTINED}'"
        )
