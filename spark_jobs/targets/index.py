"""A folder with the index file of a search library, and a Parquet file with the rows it finds."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.targets.folder_target import REMOVED, Changes, FolderTarget
from spark_jobs.targets.folders import (
    STAGING,
    damage_error,
    prepare_folder,
    read_columns,
    sync,
    write_manifest,
    write_rows,
    writing,
)
from spark_jobs.targets.index_kinds import IndexKind, VectorIndex, sample_vectors
from spark_jobs.targets.rows import as_keys, matrix_of, plain_schema
from spark_jobs.targets.stamp import stamp_of
from spark_jobs.targets.target import RowFormat

# A payload column may well be called `key`.
KEY = "_key"


@dataclass(frozen=True, slots=True)
class KeyAssignment:
    """Which keys enter and leave an index.

    Attributes:
        kept: Number of rows that stay as they are.
        removed: (n,) int64, keys whose vectors leave the index, replaced ones included.
        positions: (m,) int64, positions of the rows to add, ascending.
        keys: (m,) int64, the keys of these rows; a replaced row keeps its key.
        next_key: The first key that was never used.
    """

    kept: int
    removed: NDArray[np.int64]
    positions: NDArray[np.int64]
    keys: NDArray[np.int64]
    next_key: int


class IndexTarget(FolderTarget):
    """A folder with `index-<n>.faiss` or `.usearch`, `rows-<n>.parquet` and `_embedlake.json`, which names n.

    The index finds keys (int64); the rows hold ids, text and payload for each `_key`. A chunk keeps its key for life,
    and no key is used twice. Each export writes a new pair next to the old one, replaces `_embedlake.json` atomically,
    and then deletes the old pair. A reader that finds its pair gone reads the manifest again. A killed export leaves
    the old pair current.
    """

    def __init__(self, folder: Path, kind: IndexKind) -> None:
        super().__init__(folder, kind.name)
        self._library = kind
        self._loaded: VectorIndex | None = None

    def prepare(self, row_format: RowFormat, full: bool) -> bool:
        """Prepares the folder; see `Target`."""
        _rows_schema(row_format)
        manifest, replaced = prepare_folder(self._folder, self._kind, row_format, full)
        had_rows = self._begin(manifest, row_format, full or replaced is not None)
        self._loaded = None
        self._delete_others()
        return had_rows

    def finish(self) -> None:
        """Writes a new pair and makes it current; see `Target`."""
        row_format, changes = self._prepared()
        changes.settle()
        if not len(changes.keys) and not self._is_full:
            self.close()
            return
        before = self._manifest or {"number": 0, "next_key": 0}
        old_rows = None if self._is_full else self._path("rows")
        keys = assign_keys(old_rows, changes, before["next_key"])
        index = self._next_index(keys, row_format, changes)
        settings = index.tune()
        self._loaded = None
        number = before["number"] + 1
        manifest = {
            "kind": self._kind,
            **stamp_of(row_format),
            "number": number,
            "index": f"index-{number}.{self._kind}",
            "rows": f"rows-{number}.parquet",
            "next_key": keys.next_key,
            "settings": settings,
        }
        schema = _rows_schema(row_format)
        self._write(manifest, index, _next_rows(old_rows, changes, keys, schema), schema)
        self._delete_others()
        self.close()

    def count(self) -> int:
        """Counts the vectors in the index file; see `Target`."""
        index = self._index()
        return len(index) if index is not None else 0

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches the index file; see `Target`."""
        index, rows = self._index(), self._path("rows")
        if index is None or rows is None or not len(index):
            return [[] for _ in queries]
        found = index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        ids = _ids_of(rows, {int(key) for key in found.flat if key >= 0})
        return [[ids[int(key)] for key in row if key >= 0] for row in found]

    def close(self) -> None:
        """Discards unfinished changes; see `Target`."""
        self._loaded = None
        super().close()

    def _row_files(self) -> list[Path]:
        rows = self._path("rows")
        return [rows] if rows is not None else []

    def _path(self, file: str) -> Path | None:
        manifest = self._current_manifest()
        return self._folder / manifest[file] if manifest else None

    def _index(self) -> VectorIndex | None:
        path = self._path("index")
        if self._loaded is None and path is not None and self._manifest is not None:
            try:
                self._loaded = self._library.load(path, self._manifest["settings"])
            except (OSError, RuntimeError, ValueError) as error:
                raise damage_error(path) from error
        return self._loaded

    def _next_index(self, keys: KeyAssignment, row_format: RowFormat, changes: Changes) -> VectorIndex:
        """Changes the current index, or builds a new one from its vectors and the new ones."""
        total = keys.kept + len(keys.positions)
        old = None if self._is_full else self._index()
        index = old
        if index is None or index.is_outgrown(total):
            size = self._library.sample_size(total)
            blocks = (vectors for _, vectors in _blocks(old, keys, changes))
            empty = np.empty((0, row_format.dimension), dtype=np.float32)
            sample = sample_vectors(blocks, total, size) if size else empty
            index = self._library.create(row_format.dimension, total, sample)
            arriving = _blocks(old, keys, changes)
        else:
            index.remove(keys.removed)
            arriving = _blocks(None, keys, changes)
        for block_keys, vectors in arriving:
            index.add(block_keys, vectors)
        return index

    def _write(
        self, manifest: dict[str, Any], index: VectorIndex, rows: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> None:
        staging, names = self._folder / STAGING, (manifest["index"], manifest["rows"])
        with writing(self._folder):
            index.save(staging / names[0])
            sync(staging / names[0])
            write_rows(staging / names[1], rows, schema)
            for name in names:
                (staging / name).replace(self._folder / name)
            self._manifest = manifest
            write_manifest(self._folder, manifest)

    def _delete_others(self) -> None:
        """Deletes pairs that are not current: older ones, and those of killed exports."""
        in_force = {self._manifest["index"], self._manifest["rows"]} if self._manifest else set()
        ours = re.compile(rf"index-[0-9]+\.{self._kind}|rows-[0-9]+\.parquet")
        for path in self._folder.iterdir():
            if ours.fullmatch(path.name) and path.name not in in_force:
                path.unlink(missing_ok=True)


def assign_keys(path: Path | None, changes: Changes, next_key: int) -> KeyAssignment:
    """Finds the keys of the rows that change, and assigns new keys to new rows.

    Args:
        path: The current rows file; None if no row is kept.
        changes: The settled changes.
        next_key: The first key that was never used.

    Returns:
        The keys that enter and leave the index.
    """
    old = np.full(len(changes.keys), -1, dtype=np.int64)
    kept = 0
    for batch in read_columns(path, [KEY, "chunk_id"]) if path is not None else ():
        changed, indices = changes.find(as_keys(batch.column(1)))
        old[indices[changed]] = batch.column(0).to_numpy()[changed]
        kept += int((~changed).sum())
    alive = changes.positions != REMOVED
    order = np.argsort(changes.positions[alive])
    keys = old[alive][order]
    fresh = keys < 0
    keys[fresh] = np.arange(next_key, next_key + fresh.sum())
    return KeyAssignment(kept, old[old >= 0], changes.positions[alive][order], keys, next_key + int(fresh.sum()))


def _blocks(
    old: VectorIndex | None, assignment: KeyAssignment, changes: Changes
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yields the vectors of the old index that stay, then the new ones, each with its key."""
    # Sorted once, because a block can be as small as a single list of the index.
    removed = np.sort(assignment.removed)
    for keys, vectors in old.blocks() if old is not None else ():
        indices = np.minimum(np.searchsorted(removed, keys), max(len(removed) - 1, 0))
        stays = removed[indices] != keys if len(removed) else np.ones(len(keys), dtype=np.bool_)
        yield keys[stays], vectors[stays]
    start = 0
    for batch in changes.rows(assignment.positions):
        yield assignment.keys[start : start + batch.num_rows], matrix_of(batch.column("embedding"))
        start += batch.num_rows


def _rows_schema(row_format: RowFormat) -> pa.Schema:
    """Columns of the rows file: `_key` int64, then all but the embedding; InputError if a payload column is `_key`."""
    schema = plain_schema(row_format.rows)
    if KEY in schema.names:
        raise InputError(f"the payload column {KEY!a} has the name of the index's own column. Rename it in the source.")
    return pa.schema([pa.field(KEY, pa.int64()), *(field for field in schema if field.name != "embedding")])


def _next_rows(
    before: Path | None, changes: Changes, assignment: KeyAssignment, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    yield from changes.unchanged_rows(before, schema) if before is not None else ()
    start = 0
    for batch in changes.rows(assignment.positions):
        keys = pa.array(assignment.keys[start : start + batch.num_rows])
        start += batch.num_rows
        columns = [keys, *(batch.column(name) for name in schema.names[1:])]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _ids_of(path: Path, keys: Iterable[int]) -> dict[int, str]:
    """Looks up the chunk ids of keys in the rows file."""
    wanted = np.fromiter(keys, dtype=np.int64)
    ids: dict[int, str] = {}
    for batch in read_columns(path, [KEY, "chunk_id"]):
        matches: Any = batch.filter(pa.array(np.isin(batch.column(0).to_numpy(), wanted)))
        ids.update(zip(matches.column(0).to_pylist(), matches.column(1).to_pylist(), strict=True))
    return ids
