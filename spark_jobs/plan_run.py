"""The plan of a run: source against ledger, written down once, then cut into slices."""

from collections import Counter

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from schemas.ledger import LEDGER
from schemas.plan import ADDED, CHANGED, CHANGES, REMOVED, UNCHANGED
from spark_jobs import store
from spark_jobs.planning import Work, cut_slices, guard_removals
from spark_jobs.runs import Run
from spark_jobs.transforms import as_documents, as_plan, only_differing, only_removed


def plan_run(spark: SparkSession, run: Run, allow_removals: bool) -> Work:
    """Compares the source with the ledger and writes the documents that differ to the plan.

    The plan holds the text of these documents: it is read from the source once, and stays the same for the whole
    run, whatever happens to the source meanwhile.

    Args:
        spark: The live session.
        run: The run.
        allow_removals: Whether documents may vanish beyond `run.max_removed_fraction`.

    Returns:
        Counts by change and the slices.

    Raises:
        InputError: More documents are gone than the settings allow.
    """
    source, settings = run.checked.source, run.settings
    ledger = store.read(spark, run.place, LEDGER.name)
    documents = as_documents(source.rows, settings.source, source.payload)
    removed = only_removed(ledger, documents)
    store.replace(as_plan(only_differing(documents, ledger), removed, source.payload), run.place, "plan")
    groups = (
        store.read(spark, run.place, "plan")
        .groupBy("slice_key", "change")
        .agg(F.sum("estimated_tokens").alias("tokens"), F.count(F.lit(1)).alias("documents"))
        .collect()
    )
    counts: Counter[str] = Counter(dict.fromkeys(CHANGES, 0))
    tokens: Counter[int] = Counter()
    members: Counter[int] = Counter()
    to_embed: Counter[int] = Counter()
    for group in groups:
        counts[group.change] += group.documents
        tokens[group.slice_key] += group.tokens
        members[group.slice_key] += group.documents
        to_embed[group.slice_key] += group.documents if group.change in (ADDED, CHANGED) else 0
    counts[UNCHANGED] = run.checked.documents - sum(counts[c] for c in CHANGES if c != REMOVED)
    if not allow_removals:
        known = run.checked.documents - counts[ADDED] + counts[REMOVED]
        guard_removals(counts[REMOVED], known, settings.run.max_removed_fraction)
    keys = [(key, tokens[key], members[key], to_embed[key]) for key in members]
    return Work(dict(counts), cut_slices(keys, settings.run.slice_tokens))
