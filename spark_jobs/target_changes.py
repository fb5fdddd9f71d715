"""What an export changes, kept on disk until it is applied."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.target_files import STAGING, writing
from spark_jobs.target_rows import Keys, as_keys

REMOVED = -1


class Changes:
    """The rows to insert or replace and the ids to take out, of which the last of each id counts.

    Rows lie in an Arrow file that is mapped, not loaded; in memory are 24 bytes for each of them.

    Args:
        folder: The target's folder, with an empty staging folder for the file.
        schema: Columns of the rows; one of them is chunk_id.

    Attributes:
        keys: After `settle`: the ids that change, each once, sorted.
        positions: After `settle`: for each of them the position of its row, or `REMOVED`.
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
        """Notes rows to insert or replace.

        Args:
            batch: (n,) rows of the schema.

        Raises:
            InputError: The disk is full.
        """
        keys = as_keys(batch.column("chunk_id"))
        with writing(self._folder):
            if self._writer is None:
                self._writer = pa.ipc.new_file(str(self._path), self._schema)
            self._writer.write_batch(batch)
        start = self._starts[-1]
        self._starts.append(start + batch.num_rows)
        self._log.append((keys, np.arange(start, start + batch.num_rows, dtype=np.int64)))

    def remove(self, ids: "pa.Array[Any]") -> None:
        """Notes rows to take out.

        Args:
            ids: (n,) chunk_id, string.
        """
        self._log.append((as_keys(ids), np.full(len(ids), REMOVED, dtype=np.int64)))

    def settle(self) -> None:
        """Closes the file, and finds what counts of all that was noted.

        Raises:
            InputError: The disk is full.
        """
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

    def places_of(self, keys: Keys) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Looks up which of some ids change.

        Args:
            keys: (n,) ids of 16 bytes each.

        Returns:
            (n,) bool, whether it changes; (n,) int64, its index into `keys` and `positions` where it does.
        """
        if not len(self.keys):
            return np.zeros(len(keys), dtype=np.bool_), np.zeros(len(keys), dtype=np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return self.keys[at] == keys, at

    def rows(self, positions: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """Reads rows that were noted.

        Args:
            positions: (n,) positions, ascending.

        Yields:
            The rows in this order, in batches no larger than they came.
        """
        if not len(positions):
            return
        assert self._reader is not None, "there are rows only in a file that is closed"
        starts = np.asarray(self._starts, dtype=np.int64)
        numbers = np.searchsorted(starts, positions, side="right") - 1
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        for part in np.split(np.arange(len(positions)), cuts):
            number = int(numbers[part[0]])
            yield self._reader.get_batch(number).take(pa.array(positions[part] - starts[number]))

    def close(self) -> None:
        """Lets go of the file."""
        if self._writer is not None:
            # It writes its end even now, which a full disk refuses again.
            with suppress(OSError):
                self._writer.close()
        self._writer = self._reader = None
