"""The plan of a run: source against ledger, written down once."""

from collections import Counter

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import ReconciliationError, SourceError
from schemas.ledger import LEDGER
from schemas.plan import ADDED, CHANGES, REMOVED, TRIED, UNCHANGED
from spark_jobs.embedding.documents import as_documents, as_plan, only_differing, only_removed
from spark_jobs.embedding.run import Run, check_still_ours
from spark_jobs.embedding.slicing import Group, Work, guard_removals
from spark_jobs.embedding.source_feed import changed_rows, why_not
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.store.ledger import suspects


def plan_run(spark: SparkSession, run: Run, allow_removals: bool = False, retry_quarantined: bool = False) -> Work:
    """Compares the source with the ledger and writes the documents that differ to the plan.

    The plan holds the text of these documents: it is read from the source once, and stays the same for the whole
    run, whatever happens to the source meanwhile.

    Args:
        spark: The live session.
        run: The run.
        allow_removals: Whether documents may vanish beyond `run.max_removed_fraction`.
        retry_quarantined: Whether quarantined documents are tried again, within `run.max_attempts`.

    Returns:
        Counts by change, and the planned documents by slice key.

    Raises:
        InputError: More documents are gone than the settings allow.
        SourceError: `source.track` is `feed`, and the feed has a gap.
        ReconciliationError: The source changed while it was read.
    """
    how = _write_plan(spark, run, retry_quarantined)
    check_still_ours(spark, run)
    work = _planned(spark, run, how)
    left = run.checked.documents
    known = left - work.documents[ADDED] + work.documents[REMOVED]
    if not allow_removals:
        guard_removals(work.documents[REMOVED], known, left, run.settings.run.max_removed_fraction)
    return work


def _write_plan(spark: SparkSession, run: Run, retry_quarantined: bool) -> str:
    doubtful = _half_done(spark, run)
    gap = why_not(spark, run, retry_quarantined) if doubtful is None else "the last run left documents half done"
    track = run.settings.source.track
    if track == "feed" and gap is not None and run.before is not None:
        raise SourceError(f"the change feed cannot be used: {gap}: set source.track to auto for a full comparison")
    if track != "compare" and gap is None:
        try:
            _write(_from_feed(spark, run), spark, run)
            return f"change feed since version {run.before.source_version if run.before else 0}"
        except Exception as error:  # PySpark's where a version is gone, Py4J's where a file is
            gap = f"its history cannot be read: {cause_of(error)}"
            if track == "feed":
                raise SourceError(
                    f"the change feed has a gap: {gap}: set source.track to auto for a full comparison"
                ) from error
    retry_below = run.settings.run.max_attempts if retry_quarantined else 0
    _write(_from_comparison(spark, run, doubtful, retry_below), spark, run)
    return "full comparison" if track == "compare" or gap is None else f"full comparison: {gap}"


def _half_done(spark: SparkSession, run: Run) -> DataFrame | None:
    if run.is_clean:
        return None
    found = suspects(run.tables.read(LEDGER.name), run.tables.read("vectors"))
    return None if found.isEmpty() else found


def _from_comparison(spark: SparkSession, run: Run, doubtful: DataFrame | None, retry_below: int) -> DataFrame:
    source, ledger = run.checked.source, run.tables.read(LEDGER.name)
    documents = as_documents(source.rows, run.settings.source, source.payload)
    removed = only_removed(ledger, documents, doubtful)
    return as_plan(only_differing(documents, ledger, doubtful, retry_below), removed, source.payload)


def _from_feed(spark: SparkSession, run: Run) -> DataFrame:
    source, ledger = run.checked.source, run.tables.read(LEDGER.name)
    first = (run.before.source_version if run.before else 0) + 1
    last = source.version or 0
    if first > last:
        rows, gone = source.rows.limit(0), ledger.select("doc_id").limit(0)
    else:
        rows, gone = changed_rows(spark, run.settings.source, first, last)
    documents = as_documents(rows, run.settings.source, source.payload)
    removed = only_removed(ledger.join(gone, "doc_id", "left_semi"), documents)
    return as_plan(only_differing(documents, ledger), removed, source.payload)


def _write(plan: DataFrame, spark: SparkSession, run: Run) -> None:
    with run.fence.commit(spark):
        run.tables.replace(plan, "plan")


def _planned(spark: SparkSession, run: Run, how: str) -> Work:
    rows = (
        run.tables.read("plan")
        .groupBy("slice_key", "change")
        .agg(
            F.sum("estimated_tokens").alias("tokens"),
            F.count(F.lit(1)).alias("documents"),
            F.count_distinct("doc_id").alias("ids"),
        )
        .collect()
    )
    counts: Counter[str] = Counter(dict.fromkeys(CHANGES, 0))
    tokens: Counter[int] = Counter()
    members: Counter[int] = Counter()
    to_embed: Counter[int] = Counter()
    added: Counter[int] = Counter()
    for row in rows:
        if row.ids != row.documents:
            raise ReconciliationError("the source changed while it was read, and ids stand twice now: run again")
        counts[row.change] += row.documents
        tokens[row.slice_key] += row.tokens
        members[row.slice_key] += row.documents
        to_embed[row.slice_key] += row.documents if row.change in TRIED else 0
        added[row.slice_key] += row.documents if row.change == ADDED else 0
    counts[UNCHANGED] = run.checked.documents - sum(counts[change] for change in CHANGES if change != REMOVED)
    groups = tuple(Group(key, tokens[key], members[key], to_embed[key], added[key]) for key in sorted(members))
    return Work(dict(counts), groups, how)
