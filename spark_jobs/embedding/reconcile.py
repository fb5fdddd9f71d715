"""The check at the end of every run: source, ledger and vectors agree."""

from schemas.errors import QuarantineLimitError, ReconciliationError
from schemas.ledger import LEDGER, QUARANTINED
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.slicing import Work
from spark_jobs.store.ledger import LedgerSummary, compared, summarise_ledger

_NAMED = 5


def reconcile(run: Run, work: Work) -> LedgerSummary:
    """Fails the run unless every document of the source has one ledger row, and every row its chunks.

    Every planned document's row must also be this run's, with the planned hashes: a plan that somebody else emptied
    would otherwise look like work that is done.

    Args:
        run: The run, after its last commit.
        work: What the run had to do.

    Returns:
        What the ledger contains.

    Raises:
        ReconciliationError: They do not agree; some of the documents are named.
        QuarantineLimitError: Too many documents could not be embedded; the others are committed.
    """
    rows = compared(run.tables.read(LEDGER.name), run.tables.read("vectors"))
    summary = summarise_ledger(rows, run.run_id)
    if summary.wrong:
        examples = rows.where("wrong").orderBy("doc_id").limit(_NAMED).collect()
        shown = ", ".join(f"{row.doc_id[:80]!r} (ledger {row.chunk_count}, stored {row.stored})" for row in examples)
        raise ReconciliationError(
            f"ledger and vectors disagree about {summary.wrong} documents, such as {shown}. Run again to redo them; "
            "embedlake verify shows more."
        )
    if (summary.written, summary.digest) != (work.written, work.digest):
        raise ReconciliationError(
            f"{work.written} documents were planned, and the ledger has rows of {summary.written} of them from this "
            "run, or with other hashes. Something else wrote to the tables of this space. Run again."
        )
    if summary.documents != run.preflight.documents:
        raise ReconciliationError(
            f"the ledger has {summary.documents} documents, but the source had {run.preflight.documents} when the run "
            "began; the source has changed since. Run again."
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
            f"run.max_quarantined_fraction {limit} allows; all others are embedded. List them by embedlake quarantine."
        )
