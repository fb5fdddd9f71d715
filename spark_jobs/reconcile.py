"""The check at the end of every run: source, ledger and vectors agree."""

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import QuarantineLimitError, ReconciliationError
from schemas.ledger import LEDGER, QUARANTINED
from spark_jobs import store
from spark_jobs.ledger_summary import LedgerSummary, summarise_ledger
from spark_jobs.runs import Run

_NAMED = 5


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


def reconcile(spark: SparkSession, run: Run, source_documents: int) -> LedgerSummary:
    """Fails the run unless every document of the source has one ledger row, and every row its chunks.

    Args:
        spark: The live session.
        run: The run.
        source_documents: Documents that the source had when the run began.

    Returns:
        What the ledger holds.

    Raises:
        ReconciliationError: They do not agree; documents are named.
        QuarantineLimitError: Too many documents could not be embedded; the others are committed.
    """
    rows = compared(store.read(spark, run.place, LEDGER.name), store.read(spark, run.place, "vectors"))
    summary = summarise_ledger(rows, run.run_id)
    if summary.wrong:
        examples = rows.where("wrong").orderBy("doc_id").limit(_NAMED).collect()
        shown = ", ".join(f"{row.doc_id[:80]!r} (ledger {row.chunk_count}, stored {row.stored})" for row in examples)
        raise ReconciliationError(
            f"ledger and vectors disagree about {summary.wrong} documents, such as {shown}: run again, which does "
            "them again; embedlake verify tells more"
        )
    if summary.documents != source_documents:
        raise ReconciliationError(
            f"the ledger has {summary.documents} documents, the source had {source_documents} when the run began: "
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
            f"run.max_quarantined_fraction {limit} allows; all others are embedded. embedlake quarantine lists them"
        )
