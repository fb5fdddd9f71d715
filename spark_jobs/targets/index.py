"""A folder with the index file of a search library, and the rows that belong to it."""

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.targets.folders import (
    REMOVED,
    STAGING,
    Changes,
    damaged,
    empty_staging,
    found_in,
    open_folder,
    read_columns,
    row_groups,
    synced,
    write_stamp,
    writing,
)
from spark_jobs.targets.index_kinds import IndexKind, VectorIndex, sampled
from spark_jobs.targets.rows import as_keys, conformed, matrix_of, plain_schema
from spark_jobs.targets.stamp import same_owner, stamp_of
from spark_jobs.targets.target import RowFormat

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


class IndexTarget:
    """A folder with `index-<n>.faiss` or `.usearch`, `rows-<n>.parquet` and `_embedlake.json`, which names n.

    The index finds keys (int64); the rows have for each `_key` the ids, text and payload. A chunk keeps its key as long
    as it lives, and no key is given out twice. Each export writes a new pair beside the old one, and replaces
    `_embedlake.json` at once; the old pair goes after that. A reader that finds its pair gone reads the name again. A
    killed export leaves the old pair in force.

    Args:
        folder: The folder.
        kind: The library.

    Raises:
        InputError: The library's package is not installed.
    """

    def __init__(self, folder: Path, kind: IndexKind) -> None:
        kind.check()
        self._folder = folder
        self._kind = kind
        self._said: dict[str, Any] | None = None
        self._shape: RowFormat | None = None
        self._changes: Changes | None = None
        self._is_full = False
        self._loaded: VectorIndex | None = None

    def prepare(self, shape: RowFormat, full: bool) -> bool:
        """Makes the folder ready; see `Target`."""
        rows_schema(plain_schema(shape.rows))
        self._said = open_folder(self._folder, self._kind.name, shape, full)
        self._shape, self._is_full, self._loaded = shape, full or self._said is None, None
        empty_staging(self._folder)
        self._changes = Changes(self._folder, plain_schema(shape.rows))
        self._drop_others()
        return same_owner(self._said, shape)

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists chunk_id and run_id of every row; see `Target`."""
        rows = self._path("rows")
        yield from read_columns(rows, ["chunk_id", "run_id"]) if rows else ()

    def send(self, rows: Iterable[pa.RecordBatch]) -> None:
        """Notes rows beside the data; see `Target`."""
        shape, changes = self._prepared()
        for batch in conformed(rows, plain_schema(shape.rows)):
            changes.upsert(batch)

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Notes ids to take out; see `Target`."""
        _, changes = self._prepared()
        for part in ids:
            changes.remove(part)

    def finish(self) -> None:
        """Writes a new pair and brings it into force; see `Target`."""
        shape, changes = self._prepared()
        changes.settle()
        if not len(changes.keys) and not self._is_full:
            self.close()
            return
        said = self._said or {"number": 0, "next_key": 0}
        rows = None if self._is_full else self._path("rows")
        plan = plan_keys(rows, changes, said["next_key"])
        index = self._next_index(plan, shape)
        settings = index.tune()
        self._loaded = None
        number, staging = said["number"] + 1, self._folder / STAGING
        names = [f"index-{number}.{self._kind.name}", f"rows-{number}.parquet"]
        with writing(self._folder):
            index.save(staging / names[0])
            synced(staging / names[0])
            write_rows(staging / names[1], rows, changes, plan, rows_schema(plain_schema(shape.rows)))
            for name in names:
                (staging / name).replace(self._folder / name)
            self._said = {
                "kind": self._kind.name,
                **stamp_of(shape),
                "number": number,
                "index": names[0],
                "rows": names[1],
                "next_key": plan.next_key,
                "settings": settings,
            }
            write_stamp(self._folder, self._said)
        self._drop_others()
        self.close()

    def _next_index(self, plan: KeyPlan, shape: RowFormat) -> VectorIndex:
        """Changes the index in force, or makes another of its vectors and the new ones."""
        _, changes = self._prepared()
        total = plan.kept + len(plan.positions)
        old = None if self._is_full else self._index()
        index = old
        if index is None or index.is_outgrown(total):
            wanted = self._kind.sample_rows(total)
            both = (vectors for _, vectors in _all_blocks(old, plan, changes))
            sample = sampled(both, total, wanted) if wanted else np.empty((0, shape.dimension), dtype=np.float32)
            index = self._kind.make(shape.dimension, total, sample)
            arriving = _all_blocks(old, plan, changes)
        else:
            index.remove(plan.gone)
            arriving = _all_blocks(None, plan, changes)
        for keys, vectors in arriving:
            index.add(keys, vectors)
        return index

    def count(self) -> int:
        """Counts the vectors of the index file; see `Target`."""
        index = self._index()
        return len(index) if index is not None else 0

    def nearest(self, asked: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches the index file; see `Target`."""
        index, rows = self._index(), self._path("rows")
        if index is None or rows is None or not len(index):
            return [[] for _ in asked]
        found = index.search(np.ascontiguousarray(asked, dtype=np.float32), k)
        ids = ids_of(rows, {int(key) for key in found.flat if key >= 0})
        return [[ids[int(key)] for key in row if key >= 0] for row in found]

    def notes(self) -> list[str]:
        """Has nothing to tell; see `Target`."""
        return []

    def close(self) -> None:
        """Gives up what was not finished; see `Target`."""
        self._loaded = None
        if self._changes is not None:
            self._changes.close()
            self._changes = None
            shutil.rmtree(self._folder / STAGING, ignore_errors=True)

    def _index(self) -> VectorIndex | None:
        path = self._path("index")
        if self._loaded is None and path is not None and self._said is not None:
            try:
                self._loaded = self._kind.load(path, self._said["settings"])
            except (OSError, RuntimeError, ValueError) as error:
                raise damaged(path) from error
        return self._loaded

    def _path(self, which: str) -> Path | None:
        if self._shape is None:
            self._said = found_in(self._folder, self._kind.name)
        return self._folder / self._said[which] if self._said else None

    def _prepared(self) -> tuple[RowFormat, Changes]:
        if self._shape is None or self._changes is None:
            raise RuntimeError("prepare comes before send, remove and finish")
        return self._shape, self._changes

    def _drop_others(self) -> None:
        """Deletes pairs that are not in force: older ones, and those of exports that were killed."""
        in_force = {self._said["index"], self._said["rows"]} if self._said else set()
        ours = re.compile(rf"index-[0-9]+\.{self._kind.name}|rows-[0-9]+\.parquet")
        for path in self._folder.iterdir():
            if ours.fullmatch(path.name) and path.name not in in_force:
                path.unlink(missing_ok=True)


def _all_blocks(
    old: VectorIndex | None, plan: KeyPlan, changes: Changes
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    # Sorted once: a block may be as small as one list of the index.
    gone = np.sort(plan.gone)
    for keys, vectors in old.blocks() if old is not None else ():
        at = np.minimum(np.searchsorted(gone, keys), max(len(gone) - 1, 0))
        stays = gone[at] != keys if len(gone) else np.ones(len(keys), dtype=np.bool_)
        yield keys[stays], vectors[stays]
    start = 0
    for batch in changes.rows(plan.positions):
        yield plan.keys[start : start + batch.num_rows], matrix_of(batch.column("embedding"))
        start += batch.num_rows


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
