"""The plan of a run: the documents that differ, with their texts, read from the source once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    NumericType,
    StringType,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from schemas.errors import ReconciliationError
from schemas.plan import ADDED, REMOVED, TRIED, plan_table
from schemas.staged import STAGED_CHUNKS, staged_vectors_table
from spark_jobs.embedding.cap import is_capped
from spark_jobs.embedding.comparison import Comparison
from spark_jobs.embedding.documents import SLICE_KEYS, as_documents, as_plan, only_differing, only_removed
from spark_jobs.embedding.preflight import PreflightResult
from spark_jobs.embedding.run import Run, check_still_ours
from spark_jobs.embedding.slicing import Group, Work, fits_in_memory
from spark_jobs.embedding.source_feed import changed_rows
from spark_jobs.runtime.held_rows import in_memory
from spark_jobs.runtime.spark_errors import reading
from spark_jobs.settings.loading import Settings
from spark_jobs.sources.source import Source
from spark_jobs.store.ledger import as_digest

# Values of these types are the same after a way to the driver and back.
_HELD = (
    *(StringType, BinaryType, BooleanType, NumericType, DateType, TimestampType, TimestampNTZType),
    *(ArrayType, StructType),
)

# A plan's rows if they are held, its groups, and the number and the digest of the documents that were read.
Read = tuple[DataFrame | None, tuple[Group, ...], tuple[int, int]]


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes:
        work: Its documents by change and by slice key.
        ids: Column doc_id of all planned documents; None if there are too many to look up.
        held: Rows of the plan if the run is small enough to keep its work in memory; else None, and they are in the
            table `plan`.
    """

    work: Work
    ids: DataFrame | None
    held: DataFrame | None


def plan_run(
    run: Run, found: Comparison, half_done: DataFrame | None, retry_below: int, say: Callable[[str], None]
) -> Plan:
    """Reads the documents that differ, for the whole run: later changes of the source have no effect on it.

    Args:
        run: The run.
        found: How source and ledger differ.
        half_done: Documents that an earlier run left half done, or None.
        retry_below: Quarantined documents with fewer attempts are tried again.
        say: Receives a sentence about each table that was brought up to date.

    Returns:
        The plan.

    Raises:
        InputError: A file or value of the source cannot be read.
        ReconciliationError: The source changed while it was read.
    """
    spark, payload = run.tables.spark, run.preflight.source.payload
    dimension = run.preflight.inference.model.dimension
    changes = spark.createDataFrame(found.changes).drop("characters") if found.changes is not None else None
    ids = changes.select("doc_id") if changes is not None else None
    if not found.planned:
        return Plan(as_work(run.preflight, found, ()), ids, None)
    with reading("the source"):
        if changes is not None:
            rows = as_plan(*_few(run, found, changes), payload)
        else:
            rows = as_plan(*_many(run, half_done, retry_below), payload)
        # An unfinished run may have left vectors in tables.
        if run.is_clean and is_small(run.settings, run.preflight.source, found, dimension):
            held, groups, written = _hold(rows, found)
        else:
            held, groups, written = _write(run, rows, say)
    if written != (found.planned, found.digest):
        check_still_ours(run)
        raise ReconciliationError(
            f"the plan is not the one that was compared, of {found.planned} documents: the source has changed since, "
            "or something else wrote to the tables of this space. Run again."
        )
    return Plan(as_work(run.preflight, found, groups), ids, held)


def is_small(settings: Settings, source: Source, found: Comparison, dimension: int) -> bool:
    """Whether a run may hold its plan, chunks and vectors in memory instead of in tables."""
    are_held = all(_is_held(field.dataType) for field in source.payload)
    return (
        # What is held is one slice, which a cap could not cut.
        not is_capped(settings)
        and found.changes is not None
        and are_held
        and fits_in_memory(settings.run, found.planned, found.tokens, found.bytes, found.stored_chunks, dimension)
    )


def _is_held(kind: DataType) -> bool:
    if isinstance(kind, ArrayType):
        return _is_held(kind.elementType)
    if isinstance(kind, StructType):
        return all(_is_held(field.dataType) for field in kind)
    return isinstance(kind, _HELD)


def _few(run: Run, found: Comparison, changes: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Looks up the texts of documents that are known to differ; returns differing and removed ones."""
    spark, source, settings = run.tables.spark, run.preflight.source, run.settings.source
    rows = source.rows if found.feed is None else changed_rows(spark, settings, *found.feed)
    wanted = changes.where(F.col("change") != REMOVED).drop("text_hash", "payload_hash")
    documents = as_documents(rows, settings, source.payload)
    # So that no text of the other documents is moved to where a join would need it.
    differing = documents.join(F.broadcast(wanted), "doc_id")
    return differing, changes.where(F.col("change") == REMOVED)


def _many(run: Run, half_done: DataFrame | None, retry_below: int) -> tuple[DataFrame, DataFrame]:
    """Compares texts and all with the ledger; returns differing and removed documents."""
    source, ledger = run.preflight.source, run.state.read_ledger()
    documents = as_documents(source.rows, run.settings.source, source.payload)
    differing = only_differing(documents, ledger, half_done, retry_below)
    return differing, only_removed(ledger, documents, half_done)


def _hold(rows: DataFrame, found: Comparison) -> Read:
    held = in_memory(rows)
    documents, digest = held.agg(*_totals()).collect()[0]
    return held, (_whole(found),), (documents, digest)


def _totals() -> tuple[Column, Column]:
    """Builds the number of planned documents, and the digest of those that get a row in the ledger."""
    return F.count(F.lit(1)).alias("documents"), as_digest(F.col("change") != REMOVED).alias("digest")


def _write(run: Run, rows: DataFrame, say: Callable[[str], None]) -> Read:
    precision = run.preflight.inference.model.precision
    table = plan_table(run.preflight.source.payload)
    run.tables.complete(table, say)
    # The two that have to exist before their first rows, which are counted on their way.
    for staged in (STAGED_CHUNKS, staged_vectors_table(precision)):
        run.tables.ensure(staged, say)
    with run.fence.commit(run.tables.spark):
        run.tables.replace(rows, table)
    return _added_up(run)


def _whole(found: Comparison) -> Group:
    to_embed = sum(found.by_change[change] for change in TRIED)
    rows = found.stored_chunks + found.planned - to_embed
    return Group(SLICE_KEYS, found.tokens, found.planned, to_embed, found.by_change[ADDED], rows)


def as_work(preflight: PreflightResult, found: Comparison, groups: tuple[Group, ...]) -> Work:
    """Describes what a run has to do: documents by change, unchanged ones included, and by slice key."""
    how = " · ".join([found.how, *preflight.source.notes])
    return Work(found.all_changes, groups, how, found.digest)


def _added_up(run: Run) -> Read:
    """Adds up the plan that was written: by slice key, and as a whole."""
    rows = (
        run.tables.read("plan")
        .groupBy("slice_key", "change")
        .agg(
            F.sum("estimated_tokens").alias("tokens"),
            F.sum("stored_chunks").alias("stored_chunks"),
            *_totals(),
        )
        .collect()
    )
    tokens, documents, to_embed, added, rewritten = (Counter[int]() for _ in range(5))
    digest = 0
    for row in rows:
        tokens[row.slice_key] += row.tokens
        documents[row.slice_key] += row.documents
        to_embed[row.slice_key] += row.documents if row.change in TRIED else 0
        added[row.slice_key] += row.documents if row.change == ADDED else 0
        rewritten[row.slice_key] += row.stored_chunks + (0 if row.change in TRIED else row.documents)
        digest ^= row.digest
    sums = (tokens, documents, to_embed, added, rewritten)
    groups = tuple(Group(key, *(each[key] for each in sums)) for key in sorted(documents))
    return None, groups, (sum(documents.values()), digest)
