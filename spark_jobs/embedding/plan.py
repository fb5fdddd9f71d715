"""The plan of a run: source compared with ledger, written to the plan table once."""

from collections import Counter

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from schemas.errors import ReconciliationError, SourceError
from schemas.ledger import LEDGER
from schemas.plan import ADDED, CHANGES, REMOVED, TRIED, UNCHANGED
from spark_jobs.embedding.documents import as_documents, as_plan, only_differing, only_removed
from spark_jobs.embedding.run import Run, check_still_ours
from spark_jobs.embedding.slicing import Group, Work, guard_removals
from spark_jobs.embedding.source_feed import changed_rows, why_no_feed
from spark_jobs.runtime.spark_errors import cause_of, is_connection_lost, reading
from spark_jobs.store.ledger import as_digest, suspects


def plan_run(run: Run, allow_removals: bool = False, retry_quarantined: bool = False) -> Work:
    """Compares the source with the ledger and writes the documents that differ to the plan.

    The plan contains the text of these documents: each text is read from the source once and stays the same for the
    whole run, whatever happens to the source meanwhile.

    Args:
        run: The run.
        allow_removals: Whether more documents than `run.max_removed_fraction` may be removed.
        retry_quarantined: Whether to try quarantined documents again, up to `run.max_attempts` times.

    Returns:
        Counts by change, and the planned documents by slice key.

    Raises:
        InputError: More documents are gone than the settings allow, or a file or value of the source cannot be read.
        SourceError: `source.track` is `feed`, and the feed has a gap.
        ReconciliationError: The source changed while it was read.
    """
    with reading("the source and the ledger"):
        how, written = _write_plan(run, retry_quarantined)
    work = _summed_plan(run, " · ".join([how, *run.preflight.source.notes]))
    if (sum(group.documents for group in work.groups), work.digest) != written:
        check_still_ours(run)
        raise ReconciliationError(
            f"the plan is not the one that was written, of {written[0]} documents: something else wrote to the tables "
            "of this space. Run again."
        )
    left = run.preflight.documents
    known = left - work.documents[ADDED] + work.documents[REMOVED]
    if not allow_removals:
        guard_removals(work.documents[REMOVED], known, left, run.settings.run.max_removed_fraction)
    return work


def _write_plan(run: Run, retry_quarantined: bool) -> tuple[str, tuple[int, int]]:
    """Writes the plan; returns how it was made, and what `_replace_plan` returns."""
    half_done = _half_done(run)
    gap = why_no_feed(run, retry_quarantined) if half_done is None else "the last run left documents half done"
    track = run.settings.source.track
    if track == "feed" and gap is not None and run.before is not None:
        raise SourceError(f"the change feed cannot be used: {gap}. Set source.track to auto for a full comparison.")
    if track != "compare" and gap is None:
        try:
            written = _replace_plan(run, _from_feed(run))
            return f"change feed since version {run.before.source_version if run.before else 0}", written
        except Exception as error:  # PySpark raises it if a version is gone, Py4J if a file is
            if is_connection_lost(error):
                raise
            gap = f"its history cannot be read: {cause_of(error)}"
            if track == "feed":
                raise SourceError(
                    f"the change feed has a gap: {gap}. Set source.track to auto for a full comparison."
                ) from error
    retry_below = run.settings.run.max_attempts if retry_quarantined else 0
    written = _replace_plan(run, _from_comparison(run, half_done, retry_below))
    return "full comparison" if track == "compare" or gap is None else f"full comparison: {gap}", written


def _half_done(run: Run) -> DataFrame | None:
    if run.is_clean:
        return None
    half_done = suspects(run.tables.read(LEDGER.name), run.tables.read("vectors"))
    return None if half_done.isEmpty() else half_done


def _from_comparison(run: Run, half_done: DataFrame | None, retry_below: int) -> DataFrame:
    source, ledger = run.preflight.source, run.tables.read(LEDGER.name)
    documents = as_documents(source.rows, run.settings.source, source.payload)
    removed = only_removed(ledger, documents, half_done)
    return as_plan(only_differing(documents, ledger, half_done, retry_below), removed, source.payload)


def _from_feed(run: Run) -> DataFrame:
    source, ledger = run.preflight.source, run.tables.read(LEDGER.name)
    first = (run.before.source_version if run.before else 0) + 1
    last = source.version or 0
    if first > last:
        rows, gone = source.rows.limit(0), ledger.select("doc_id").limit(0)
    else:
        rows, gone = changed_rows(run.tables.spark, run.settings.source, first, last)
    documents = as_documents(rows, run.settings.source, source.payload)
    removed = only_removed(ledger.join(gone, "doc_id", "left_semi"), documents)
    return as_plan(only_differing(documents, ledger), removed, source.payload)


def _replace_plan(run: Run, plan: DataFrame) -> tuple[int, int]:
    """Writes the plan; returns the number of its rows, and the digest of those that get a row in the ledger."""
    observed = Observation("plan")
    gets_row = F.col("change") != REMOVED
    rows = plan.observe(observed, F.count(F.lit(1)).alias("documents"), as_digest(gets_row).alias("digest"))
    with run.fence.commit(run.tables.spark):
        run.tables.replace(rows, "plan")
    return int(observed.get["documents"]), int(observed.get["digest"])


def _summed_plan(run: Run, how: str) -> Work:
    rows = (
        run.tables.read("plan")
        .groupBy("slice_key", "change")
        .agg(
            F.sum("estimated_tokens").alias("tokens"),
            F.sum("stored_chunks").alias("stored_chunks"),
            F.count(F.lit(1)).alias("documents"),
            F.count_distinct("doc_id").alias("ids"),
            as_digest(F.col("change") != REMOVED).alias("digest"),
        )
        .collect()
    )
    counts: Counter[str] = Counter(dict.fromkeys(CHANGES, 0))
    tokens, documents, to_embed, added, rewritten = (Counter[int]() for _ in range(5))
    digest = 0
    for row in rows:
        if row.ids != row.documents:
            raise ReconciliationError(
                "ids occur in more than one row because the source changed while it was read. Run again."
            )
        counts[row.change] += row.documents
        tokens[row.slice_key] += row.tokens
        documents[row.slice_key] += row.documents
        to_embed[row.slice_key] += row.documents if row.change in TRIED else 0
        added[row.slice_key] += row.documents if row.change == ADDED else 0
        rewritten[row.slice_key] += row.stored_chunks + (0 if row.change in TRIED else row.documents)
        digest ^= row.digest
    counts[UNCHANGED] = run.preflight.documents - sum(counts[change] for change in CHANGES if change != REMOVED)
    sums = (tokens, documents, to_embed, added, rewritten)
    groups = tuple(Group(key, *(each[key] for each in sums)) for key in sorted(documents))
    return Work(dict(counts), groups, how, digest)
