"""The rows beside an index file: key, ids, text and payload of every vector, in one Parquet file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.target_changes import REMOVED, Changes
from spark_jobs.target_files import synced
from spark_jobs.target_parquet_files import read_columns, row_groups
from spark_jobs.target_rows import as_keys

# A payload column may well be called `key`.
KEY = "_key"


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """Which keys of an index come and go.

    Attributes:
        kept: Rows that stay as they are.
        gone: (n,) int64, keys whose vectors leave the index, replaced ones too.
        positions: (m,) int64, positions of the rows that go in, ascending.
        keys: (m,) int64, the keys of these; a replaced row keeps its own.
        next_key: The first key that was never given out.
    """

    kept: int
    gone: NDArray[np.int64]
    positions: NDArray[np.int64]
    keys: NDArray[np.int64]
    next_key: int


def rows_schema(schema: pa.Schema) -> pa.Schema:
    """Gives the columns of the file.

    Args:
        schema: Columns of an export.

    Returns:
        `_key` int64, then all of them but the embedding.

    Raises:
        InputError: A payload column has the key's name.
    """
    if KEY in schema.names:
        raise InputError(f"the payload column {KEY!a} has the name of the index's own column: rename it in the source")
    return pa.schema([pa.field(KEY, pa.int64()), *(field for field in schema if field.name != "embedding")])


def plan_keys(path: Path | None, changes: Changes, next_key: int) -> KeyPlan:
    """Finds the keys of the rows that change, and keys for those that are new.

    Args:
        path: The file in force; None where nothing is kept.
        changes: What changes, settled.
        next_key: The first key that was never given out.

    Returns:
        The plan.
    """
    old = np.full(len(changes.keys), -1, dtype=np.int64)
    kept = 0
    for batch in read_columns(path, [KEY, "chunk_id"]) if path is not None else ():
        changed, at = changes.places_of(as_keys(batch.column(1)))
        old[at[changed]] = batch.column(0).to_numpy()[changed]
        kept += int((~changed).sum())
    alive = changes.positions != REMOVED
    order = np.argsort(changes.positions[alive])
    keys = old[alive][order]
    fresh = keys < 0
    keys[fresh] = np.arange(next_key, next_key + fresh.sum())
    return KeyPlan(kept, old[old >= 0], changes.positions[alive][order], keys, next_key + int(fresh.sum()))


def write_rows(path: Path, before: Path | None, changes: Changes, plan: KeyPlan, schema: pa.Schema) -> None:
    """Writes the next version of the file.

    Args:
        path: Where it goes.
        before: The file in force; None where nothing is kept.
        changes: What changes, settled.
        plan: Which keys come and go.
        schema: Result of `rows_schema`.
    """
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in row_groups(_next_rows(before, changes, plan, schema)):
            writer.write_table(table)
    synced(path)


def _next_rows(before: Path | None, changes: Changes, plan: KeyPlan, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in read_columns(before) if before is not None else ():
        changed, _ = changes.places_of(as_keys(batch.column("chunk_id")))
        yield batch.filter(pa.array(~changed)).select(schema.names).cast(schema)
    start = 0
    for batch in changes.rows(plan.positions):
        keys = pa.array(plan.keys[start : start + batch.num_rows])
        start += batch.num_rows
        columns = [keys, *(batch.column(name) for name in schema.names[1:])]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def ids_of(path: Path, keys: Iterable[int]) -> dict[int, str]:
    """Looks up chunk ids.

    Args:
        path: The file in force.
        keys: Keys.

    Returns:
        chunk_id of each key that is there.
    """
    wanted = np.fromiter(keys, dtype=np.int64)
    found: dict[int, str] = {}
    for batch in read_columns(path, [KEY, "chunk_id"]):
        hits: Any = batch.filter(pa.array(np.isin(batch.column(0).to_numpy(), wanted)))
        found.update(zip(hits.column(0).to_pylist(), hits.column(1).to_pylist(), strict=True))
    return found
