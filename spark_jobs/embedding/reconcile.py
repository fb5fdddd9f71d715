"""The check at the end of every run: source, ledger and vectors agree."""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.errors import QuarantineLimitError, ReconciliationError
from schemas.ledger import LEDGER, QUARANTINED
from spark_jobs.embedding.plan import Plan
from spark_jobs.embedding.run import Run
from spark_jobs.runtime.threads import beside
from spark_jobs.settings.loading import Settings
from spark_jobs.store.ledger import LedgerSummary, compared, summarise_ledger

_NAMED = 5


def reconcile(run: Run, plan: Plan) -> LedgerSummary:
    """Fails the run unless every document of the source has one ledger row, and every row its chunks.

    Every planned document's row must also be this run's, with the planned hashes: a plan that somebody else emptied
    would otherwise look like work that is done. If the library is large, the last run finished and few documents
    differed, only these are looked up, and of the others the totals.

    Args:
        run: The run, after its last commit.
        plan: What the run had to do.

    Returns:
        What the ledger contains.

    Raises:
        ReconciliationError: They do not agree; some of the documents are named.
        QuarantineLimitError: Too many documents could not be embedded; the others are committed.
    """
    spark, tables = run.tables.spark, run.tables
    if not plan.work.groups and not run.state.is_loaded:
        return summarise_ledger(spark.createDataFrame([], LEDGER.schema))
    ledger, vectors, work = tables.read(LEDGER.name), tables.read("vectors"), plan.work
    is_due = run.state.is_check_due(run.settings.run.full_check_every)
    is_full = not (run.is_clean and run.state.is_large) or plan.ids is None or is_due
    if not is_full and plan.ids is not None:
        # Delta knows which files have rows of this run.
        written = ledger.where(F.col("run_id") == run.run_id)
        rows = compared(written, vectors.join(F.broadcast(plan.ids), "doc_id", "left_semi"))
        totals = beside(spark, lambda: summarise_ledger(ledger))
        touched, whole = summarise_ledger(rows, run.run_id), totals()
        summary = replace(whole, truncated=touched.truncated, written=touched.written, digest=touched.digest)
        # Delta's log knows how many rows there are.
        is_full = bool(touched.wrong) or summary.chunks != vectors.count()
    if is_full:
        rows = compared(ledger, vectors)
        summary = summarise_ledger(rows, run.run_id)
        if summary.wrong:
            raise ReconciliationError(_disagreement(rows, summary.wrong))
    if (summary.written, summary.digest) != (work.written, work.digest):
        raise ReconciliationError(
            f"{work.written} documents were planned, and the ledger has rows of {summary.written} of them from this "
            "run, or with other hashes. Something else wrote to the tables of this space. Run again."
        )
    if summary.documents != work.source_documents:
        raise ReconciliationError(
            f"the ledger has {summary.documents} documents, but the source had {work.source_documents} when the run "
            "began; the source has changed since. Run again."
        )
    check_quarantined(summary, run.settings)
    return summary


def _disagreement(rows: DataFrame, wrong: int) -> str:
    examples = rows.where("wrong").orderBy("doc_id").limit(_NAMED).collect()
    shown = ", ".join(f"{row.doc_id[:80]!r} (ledger {row.chunk_count}, stored {row.stored})" for row in examples)
    return (
        f"ledger and vectors disagree about {wrong} documents, such as {shown}. Run again to redo them; embedlake "
        "verify shows more."
    )


def check_quarantined(summary: LedgerSummary, settings: Settings) -> None:
    """Raises QuarantineLimitError if more documents are quarantined than the settings allow."""
    limit = settings.run.max_quarantined_fraction
    count = summary.statuses.get(QUARANTINED, 0)
    if summary.documents and count / summary.documents > limit:
        shown = ", ".join(f"{reason}: {number}" for reason, number in sorted(summary.reasons.items()))
        raise QuarantineLimitError(
            f"{count} of {summary.documents} documents are quarantined ({shown}), more than "
            f"run.max_quarantined_fraction {limit} allows; all others are embedded. List them by embedlake quarantine."
        )
