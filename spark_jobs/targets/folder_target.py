"""What targets in a folder share: changes are collected next to the data until `finish` makes them current."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.targets.folders import STAGING, empty_staging, read_columns, read_manifest, writing
from spark_jobs.targets.rows import Keys, as_keys, conform, plain_schema
from spark_jobs.targets.stamp import same_owner
from spark_jobs.targets.target import RowFormat

REMOVED = -1


class Changes:
    """The rows to insert or replace and the ids to remove; the last change of each id counts.

    The rows go to an Arrow file that is mapped, not loaded; memory holds 24 bytes per row.

    Args:
        folder: The target's folder, with an empty staging folder for the file.
        schema: Columns of the rows, chunk_id among them.

    Attributes:
        keys: After `settle`: the ids that change, each once, sorted.
        positions: After `settle`: the position of each id's row, or `REMOVED`.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.keys: Keys = np.empty(0, dtype="S16")
        self.positions: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._folder = folder
        self._path = folder / STAGING / "changes.arrow"
        self._schema = schema
        self._log: list[tuple[Keys, NDArray[np.int64]]] = []
        self._starts = [0]
        self._writer: pa.RecordBatchFileWriter | None = None
        self._reader: pa.RecordBatchFileReader | None = None

    def upsert(self, batch: pa.RecordBatch) -> None:
        """Adds rows to insert or replace; raises InputError if the disk is full."""
        keys = as_keys(batch.column("chunk_id"))
        with writing(self._folder):
            if self._writer is None:
                self._writer = pa.ipc.new_file(str(self._path), self._schema)
            self._writer.write_batch(batch)
        start = self._starts[-1]
        self._starts.append(start + batch.num_rows)
        self._log.append((keys, np.arange(start, start + batch.num_rows, dtype=np.int64)))

    def remove(self, ids: "pa.Array[Any]") -> None:
        """Adds (n,) ids to remove."""
        self._log.append((as_keys(ids), np.full(len(ids), REMOVED, dtype=np.int64)))

    def settle(self) -> None:
        """Closes the file, and keeps the last change of each id; raises InputError if the disk is full."""
        if self._writer is not None:
            with writing(self._folder):
                self._writer.close()
            self._reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
        if self._log:
            keys = np.concatenate([keys for keys, _ in self._log])
            positions = np.concatenate([positions for _, positions in self._log])
            self._log.clear()
            _, first_from_behind = np.unique(keys[::-1], return_index=True)
            last = len(keys) - 1 - first_from_behind
            self.keys, self.positions = keys[last], positions[last]

    def find(self, keys: Keys) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Looks up which ids change.

        Args:
            keys: (n,) ids.

        Returns:
            (n,) bool, whether each changes; (n,) int64, its index into `keys` and `positions` if it does.
        """
        if not len(self.keys):
            return np.zeros(len(keys), dtype=np.bool_), np.zeros(len(keys), dtype=np.int64)
        indices = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return self.keys[indices] == keys, indices

    def rows(self, positions: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """Reads the rows at ascending positions, in this order, in batches no larger than those added."""
        if not len(positions):
            return
        assert self._reader is not None, "rows can only be read after settle has closed the file"
        starts = np.asarray(self._starts, dtype=np.int64)
        numbers = np.searchsorted(starts, positions, side="right") - 1
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        for indices in np.split(np.arange(len(positions)), cuts):
            number = int(numbers[indices[0]])
            yield self._reader.get_batch(number).take(pa.array(positions[indices] - starts[number]))

    def unchanged_rows(self, path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Reads the rows of a Parquet file that stay as they are, with the columns of a schema."""
        for batch in read_columns(path):
            changed, _ = self.find(as_keys(batch.column("chunk_id")))
            yield batch.filter(pa.array(~changed)).select(schema.names).cast(schema)

    def close(self) -> None:
        """Releases the file."""
        if self._writer is not None:
            # Closing writes the file's end, which fails again if the disk is full.
            with suppress(OSError):
                self._writer.close()
        self._writer = self._reader = None


class FolderTarget(ABC):
    """The part of `Target` that is the same for all kinds of files in a folder.

    A kind implements `prepare`, which ends in `_begin`, and `finish`, `count`, `nearest` and `_row_files`.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._manifest: dict[str, Any] | None = None
        self._row_format: RowFormat | None = None
        self._changes: Changes | None = None
        self._is_full = False

    def stamp(self) -> object:
        """Reads the manifest, which contains the stamp; see `Target`."""
        return read_manifest(self._folder, self._kind)

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists chunk_id and run_id of every row, as `finish` last left them; see `Target`."""
        for path in self._row_files():
            yield from read_columns(path, ["chunk_id", "run_id"])

    def send(self, rows: Iterable[pa.RecordBatch]) -> None:
        """Collects rows next to the data; see `Target`."""
        row_format, changes = self._prepared()
        for batch in conform(rows, plain_schema(row_format.rows)):
            changes.upsert(batch)

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Collects ids to remove; see `Target`."""
        _, changes = self._prepared()
        for array in ids:
            changes.remove(array)

    def notes(self) -> list[str]:
        """Has none; see `Target`."""
        return []

    def close(self) -> None:
        """Discards unfinished changes; see `Target`."""
        if self._changes is not None:
            self._changes.close()
            self._changes = None
            shutil.rmtree(self._folder / STAGING, ignore_errors=True)

    @abstractmethod
    def _row_files(self) -> list[Path]:
        """The current Parquet files, which hold every row but not necessarily its vector."""

    def _begin(self, manifest: dict[str, Any] | None, row_format: RowFormat, replaces_all: bool) -> bool:
        """Starts to collect changes; returns whether the folder contained rows of this owner."""
        self._manifest, self._row_format = manifest, row_format
        self._is_full = replaces_all or manifest is None
        empty_staging(self._folder)
        self._changes = Changes(self._folder, plain_schema(row_format.rows))
        return same_owner(manifest, row_format)

    def _current_manifest(self) -> dict[str, Any] | None:
        if self._row_format is None:
            self._manifest = read_manifest(self._folder, self._kind)
        return self._manifest

    def _prepared(self) -> tuple[RowFormat, Changes]:
        if self._row_format is None or self._changes is None:
            raise RuntimeError("call prepare before send, remove and finish")
        return self._row_format, self._changes
