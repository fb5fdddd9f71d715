"""The two commits of a slice: to `vectors`, then to `ledger`; by MERGE, or by an append if all rows are new."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructField

from schemas.documents import DOCUMENTS, PAGES
from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED
from schemas.plan import PAYLOAD, REMOVED, TRIED
from schemas.reasons import INVALID_VECTOR
from schemas.table import Table, quoted
from schemas.vectors import HEADINGS, PAGE_END, PAGE_FIELDS, PAGE_START
from spark_jobs.embedding.staging import POSITION, has_chunk
from spark_jobs.runtime.properties import session_properties
from spark_jobs.store.failpoints import boundary
from spark_jobs.store.properties import COPIED_SOURCE
from spark_jobs.store.tables import SpaceTables

# MERGE resolves names across both sides at once, so names on the incoming side have a prefix.
INCOMING = "_incoming_"
# So many ids a MERGE may name in its condition, which Delta writes to the log.
_MOST_NAMED = 5_000
# Columns that a ledger row takes over if only the payload changed.
_PAYLOAD_COLUMNS = ("payload_hash", "source_version", "run_id")
UPSERT = "upsert"
DELETE = "delete"
# Columns that only guide a MERGE; the underscore keeps them apart from payload columns.
OPERATION = "_operation"
PAYLOAD_CHANGED = "_payload_changed"
# Part of the ledger's `detail`.
_OLDER_SERVED = "; vectors of an earlier text are served"


def _incoming(name: str) -> Column:
    return F.col(quoted(INCOMING + name))


def _renamed(changes: DataFrame) -> DataFrame:
    return changes.select([F.col(quoted(name)).alias(INCOMING + name) for name in changes.columns])


def _same(changes: DataFrame, key: str, few: bool) -> Column:
    """Builds the condition that a stored and an incoming row have the same key.

    Where the incoming rows are few and held, it names the hashes of their keys too. That changes nothing about what it
    means. But Spark can then leave out stored rows before the join, which for a MERGE that inserts shuffles them all.
    Hashes, because the condition is in the table's history, where ids are nobody's business.
    """
    same = F.col(key) == _incoming(key)
    hashes = changes.select(F.xxhash64(key)).limit(_MOST_NAMED + 1).collect() if few else []
    if not 0 < len(hashes) <= _MOST_NAMED:
        return same
    return same & F.xxhash64(key).isin([row[0] for row in hashes])


def merge_vectors(
    changes: DataFrame,
    tables: SpaceTables,
    table: Table,
    insert_only: bool,
    is_fenced: bool,
    few: bool = False,
) -> None:
    """Merges a slice's chunks into `vectors` in one commit, upserts and deletes together.

    A matched row keeps its vector; neither the source nor this statement reads it.

    Args:
        changes: Rows of `as_vector_changes`.
        tables: The space's tables.
        table: `vectors`.
        insert_only: Whether none of the documents has a stored chunk. Delta then writes no second copy of each vector
            for the change feed, which reads inserts from the data files themselves.
        is_fenced: Whether no other run can commit meanwhile. Inserts alone are then appended: nothing stored is read,
            and MERGE does not copy its source. The first rows make the table, which no two runs can.
        few: Whether the changes are held on the driver, and few beside what is stored.
    """
    names = table.schema.names
    if insert_only and (is_fenced or not tables.exists(table.name)):
        tables.append(changes.where(F.col(OPERATION) == UPSERT).select(*map(quoted, names)), table)
        return
    merge = _renamed(changes).mergeInto(tables.name("vectors"), _same(changes, "chunk_id", few))
    if not insert_only:
        merge = (
            merge.whenMatched(_incoming(OPERATION) == DELETE)
            .delete()
            .whenMatched(_has_moved(table) | _incoming(PAYLOAD_CHANGED))
            .update(_rewritten(table))
        )
    every = {quoted(name): _incoming(name) for name in names}
    with boundary("vectors"):
        merge.whenNotMatched(_incoming(OPERATION) == UPSERT).insert(every).merge()


def _has_moved(table: Table) -> Column:
    """Whether a stored chunk stands elsewhere in its document, or under other headings."""
    moved = F.lit(False)
    for name in POSITION:
        moved = moved | ~F.col(name).eqNullSafe(_incoming(name))
    return moved | ~F.col(HEADINGS.name).eqNullSafe(_newest_headings()) if HEADINGS in table.schema.fields else moved


def _rewritten(table: Table) -> dict[str, Column]:
    """What a stored chunk takes from its document as it is now."""
    pages = [field.name for field in PAGE_FIELDS if field in table.schema.fields]
    values = {quoted(name): _incoming(name) for name in (*POSITION, *(table.from_source or ()), *pages, "run_id")}
    return values | ({HEADINGS.name: _newest_headings()} if HEADINGS in table.schema.fields else {})


def _newest_headings() -> Column:
    """A text that was not cut in this run comes without its headings."""
    return F.coalesce(_incoming(HEADINGS.name), F.col(HEADINGS.name))


def merge_ledger(changes: DataFrame, tables: SpaceTables, is_new: bool, few: bool = False) -> None:
    """Merges a slice's outcomes into `ledger` in one commit, after the one into `vectors`.

    Args:
        changes: Rows of `as_ledger_changes`.
        tables: The space's tables.
        is_new: Whether none of the documents has a row and the commit is fenced; see `merge_vectors`.
        few: See `merge_vectors`.
    """
    if is_new or not tables.exists(LEDGER.name):
        tables.append(changes.select(*LEDGER.schema.names), LEDGER)
        return
    every = {quoted(name): _incoming(name) for name in LEDGER.schema.names}
    merge = (
        _renamed(changes)
        .mergeInto(tables.name("ledger"), _same(changes, "doc_id", few))
        .whenMatched(_incoming(OPERATION) == REMOVED)
        .delete()
        .whenMatched(_incoming(OPERATION) == PAYLOAD)
        .update({quoted(name): _incoming(name) for name in _PAYLOAD_COLUMNS})
        .whenMatched(_incoming(OPERATION).isin(*TRIED))
        .update(every)
        .whenNotMatched(_incoming(OPERATION).isin(*TRIED))
        .insert(every)
    )
    with boundary("ledger"):
        merge.merge()


def merge_documents(changes: DataFrame, tables: SpaceTables, is_new: bool) -> None:
    """Merges files that were read, or are gone, into `documents` in one commit.

    Args:
        changes: Columns of `documents`, and `is_gone`.
        tables: The space's tables.
        is_new: Whether the table had no row when the run found it.
    """
    names = DOCUMENTS.schema.names
    is_gone = F.coalesce("is_gone", F.lit(False))
    if is_new or not tables.exists(DOCUMENTS.name):
        tables.append(changes.where(~is_gone).select(*names), DOCUMENTS)
        return
    every = {quoted(name): _incoming(name) for name in names}
    gone = F.coalesce(_incoming("is_gone"), F.lit(False))
    merge = (
        _renamed(changes)
        .mergeInto(tables.name(DOCUMENTS.name), F.col("path") == _incoming("path"))
        .whenMatched(gone)
        .delete()
        .whenMatched()
        .update(every)
        .whenNotMatched(~gone)
        .insert(every)
    )
    with boundary(DOCUMENTS.name), session_properties(tables.spark, COPIED_SOURCE):
        merge.merge()


def _pages_of(begins: Column) -> dict[str, Column]:
    """Finds a chunk's pages by where in the text each page begins; null where the document has no pages."""

    def begun_by(last: Column) -> Column:
        return F.when(F.size(begins) > 0, F.size(F.filter(begins, lambda begin: begin <= last)))

    return {PAGE_START.name: begun_by(F.col("char_start")), PAGE_END.name: begun_by(F.col("char_end") - 1)}


def _with_faults(chunks: DataFrame, staged: DataFrame) -> DataFrame:
    """Adds `fault` and `fault_detail`: why a chunk cannot be stored, null if it can."""
    texts = staged.groupBy("text_hash").agg(
        F.bool_or(F.col("reason").isNull()).alias("is_embedded"),
        F.max("reason").alias("text_reason"),
        F.max("detail").alias("text_detail"),
    )
    lost = has_chunk() & ~F.col("is_stored") & ~F.coalesce("is_embedded", F.lit(False))
    # A chunk without a vector and without a reason must never count as embedded.
    fault = F.coalesce("reason", F.when(lost, F.coalesce("text_reason", F.lit(INVALID_VECTOR))))
    detail = F.coalesce("detail", F.when(lost, F.coalesce("text_detail", F.lit("no vector was staged"))))
    return chunks.join(texts, "text_hash", "left").withColumns({"fault": fault, "fault_detail": detail})


def as_outcomes(chunks: DataFrame, staged: DataFrame, keep_older: bool) -> DataFrame:
    """Summarizes the outcome for each document that the run tried to embed.

    Args:
        chunks: Staged chunks of the slice.
        staged: Staged vectors.
        keep_older: Whether a document that fails keeps its stored chunks.

    Returns:
        Columns doc_id, status, reason, detail, chunk_count, token_count, truncated_count.
    """
    kept = F.count_if("is_stored") if keep_older else F.lit(0)
    per_document = (
        _with_faults(chunks, staged)
        .groupBy("doc_id")
        .agg(
            F.bool_or("is_made").alias("tried"),
            F.min("fault").alias("reason"),
            F.min_by("fault_detail", "fault").alias("detail"),
            F.count_if(has_chunk()).cast("int").alias("new_chunks"),
            kept.cast("int").alias("old_chunks"),
            F.coalesce(F.sum(F.when(has_chunk(), F.col("token_count"))), F.lit(0)).alias("token_count"),
            F.count_if(has_chunk() & F.col("truncated")).cast("int").alias("truncated_count"),
        )
        .where("tried")
    )
    failed = F.col("reason").isNotNull()
    older = F.when(F.col("old_chunks") > 0, _OLDER_SERVED).otherwise("")
    return per_document.select(
        "doc_id",
        F.when(failed, QUARANTINED).when(F.col("new_chunks") == 0, EMPTY).otherwise(EMBEDDED).alias("status"),
        "reason",
        F.concat("detail", older).alias("detail"),
        F.when(failed, F.col("old_chunks")).otherwise(F.col("new_chunks")).alias("chunk_count"),
        F.when(failed, 0).otherwise(F.col("token_count")).cast("long").alias("token_count"),
        F.when(failed, 0).otherwise(F.col("truncated_count")).alias("truncated_count"),
    )


def _operation(keep_older: bool) -> Column:
    tried = F.col("change").isin(*TRIED)
    failed = F.max(F.col("fault").isNotNull()).over(Window.partitionBy("doc_id"))
    replaced = tried & F.col("is_stored") & F.when(failed, not keep_older).otherwise(~F.col("is_made"))
    written = F.when(tried, has_chunk() & ~failed).otherwise((F.col("change") == PAYLOAD) & F.col("is_stored"))
    return F.when((F.col("change") == REMOVED) | replaced, DELETE).when(written, UPSERT)


def as_vector_changes(
    plan: DataFrame,
    chunks: DataFrame,
    staged: DataFrame,
    table: Table,
    payload: Sequence[StructField],
    run_id: str,
    keep_older: bool,
) -> DataFrame:
    """Decides what happens to the row of each chunk of the slice's documents.

    Args:
        plan: Plan rows of the slice.
        chunks: Staged chunks of the slice.
        staged: Staged vectors.
        table: `vectors`.
        payload: Fields that the plan carries beside the text.
        run_id: The run that writes.
        keep_older: Whether a document that fails keeps its stored chunks.

    Returns:
        Columns of the vectors table, `_operation` and `_payload_changed`; embedding, text and counts of stored chunks
        may be null.
    """
    planned = plan.select("doc_id", "change", "payload_changed", *(["payload"] if payload else []))
    changes = (
        _with_faults(chunks, staged)
        .join(planned, "doc_id")
        .withColumn(OPERATION, _operation(keep_older))
        .where(F.col(OPERATION).isNotNull())
        .withColumn("missing_hash", F.when((F.col(OPERATION) == UPSERT) & ~F.col("is_stored"), F.col("text_hash")))
    )
    # Any vector of a text would do, but MERGE may evaluate its source more than once and must always see the same one.
    embeddings = (
        staged.where(F.col("reason").isNull())
        .groupBy(F.col("text_hash").alias("missing_hash"))
        .agg(F.min("embedding").alias("embedding"))
    )
    values = {field.name: F.col(f"payload.{quoted(field.name)}") for field in payload} | {"run_id": F.lit(run_id)}
    # A payload column of that name has another comment, and so is another field.
    if PAGE_START in table.schema.fields:
        values |= _pages_of(values[PAGES])
    columns = [values.get(name, F.col(quoted(name))).alias(name) for name in table.schema.names]
    guides = [F.col(OPERATION), F.col("payload_changed").alias(PAYLOAD_CHANGED)]
    return changes.drop("run_id").join(embeddings, "missing_hash", "left").select(*columns, *guides)


def as_ledger_changes(plan: DataFrame, outcomes: DataFrame, source_version: int | None, run_id: str) -> DataFrame:
    """Decides what the ledger row of each document of the slice becomes.

    Args:
        plan: Plan rows of the slice.
        outcomes: Rows of `as_outcomes`.
        source_version: Version of the source, if it has versions.
        run_id: The run that writes.

    Returns:
        Columns of the ledger and `_operation`, which is the document's change.
    """
    tried = F.col("change").isin(*TRIED)
    columns = {
        "attempts": F.when(tried, F.col("attempts") + 1).otherwise(F.col("attempts")),
        "source_version": F.lit(source_version).cast("long"),
        "run_id": F.lit(run_id),
    }
    planned = plan.select("doc_id", "text_hash", "payload_hash", "attempts", "change")
    rows = planned.join(outcomes, "doc_id", "left").withColumns(columns).withColumnRenamed("change", OPERATION)
    return rows.select(*LEDGER.schema.names, OPERATION)
