"""The two commits of a slice: into `vectors`, then into `ledger`; by MERGE, or by an append where nothing is there."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField

from schemas.conform import quoted
from schemas.ledger import LEDGER
from schemas.plan import PAYLOAD, REMOVED, TRIED
from schemas.vectors import vectors_table
from spark_jobs.failpoints import boundary
from spark_jobs.slice_transforms import DELETE, OPERATION, PAYLOAD_CHANGED, UPSERT
from spark_jobs.staging_transforms import POSITION
from spark_jobs.store import Place, append

# MERGE resolves names over both sides at once, so the incoming side's get a prefix of their own.
INCOMING = "_incoming_"
_REPAID = ("payload_hash", "source_version", "run_id")


def _incoming(name: str) -> Column:
    return F.col(quoted(INCOMING + name))


def _renamed(changes: DataFrame) -> DataFrame:
    return changes.select([F.col(quoted(name)).alias(INCOMING + name) for name in changes.columns])


def merge_vectors(
    changes: DataFrame, place: Place, payload: Sequence[StructField], insert_only: bool, is_fenced: bool
) -> None:
    """Brings a slice's chunks into `vectors` in one commit: upserts and deletes together.

    A matched row keeps its vector: neither the source nor this statement reads it.

    Args:
        changes: Rows of `as_vector_changes`.
        place: Where the tables lie.
        payload: The payload columns' fields.
        insert_only: Whether none of the documents has a stored chunk. Delta then writes no second copy of each vector
            for the change feed, which tells inserts from the data files themselves.
        is_fenced: Whether no other run can commit meanwhile. Inserts alone are then appended, without a look at what is
            stored and without the copy of its source that MERGE makes.
    """
    names = vectors_table(payload).schema.names
    if insert_only and is_fenced:
        append(changes.where(F.col(OPERATION) == UPSERT).select(*map(quoted, names)), place, "vectors")
        return
    moved = F.lit(False)
    for name in POSITION:
        moved = moved | ~F.col(name).eqNullSafe(_incoming(name))
    rewritten = [*POSITION, *(field.name for field in payload), "run_id"]
    merge = _renamed(changes).mergeInto(place.name("vectors"), F.col("chunk_id") == _incoming("chunk_id"))
    if not insert_only:
        merge = (
            merge.whenMatched(_incoming(OPERATION) == DELETE)
            .delete()
            .whenMatched(moved | _incoming(PAYLOAD_CHANGED))
            .update({quoted(name): _incoming(name) for name in rewritten})
        )
    every = {quoted(name): _incoming(name) for name in names}
    with boundary("vectors"):
        merge.whenNotMatched(_incoming(OPERATION) == UPSERT).insert(every).merge()


def merge_ledger(changes: DataFrame, place: Place, is_new: bool) -> None:
    """Brings a slice's outcomes into `ledger` in one commit, after `vectors` holds what it will claim.

    Args:
        changes: Rows of `as_ledger_changes`.
        place: Where the tables lie.
        is_new: Whether none of the documents has a row and the commit is fenced; see `merge_vectors`.
    """
    if is_new:
        append(changes.select(*LEDGER.schema.names), place, LEDGER.name)
        return
    every = {quoted(name): _incoming(name) for name in LEDGER.schema.names}
    merge = (
        _renamed(changes)
        .mergeInto(place.name("ledger"), F.col("doc_id") == _incoming("doc_id"))
        .whenMatched(_incoming(OPERATION) == REMOVED)
        .delete()
        .whenMatched(_incoming(OPERATION) == PAYLOAD)
        .update({quoted(name): _incoming(name) for name in _REPAID})
        .whenMatched(_incoming(OPERATION).isin(*TRIED))
        .update(every)
        .whenNotMatched(_incoming(OPERATION).isin(*TRIED))
        .insert(every)
    )
    with boundary("ledger"):
        merge.merge()
