"""Folders that hold a target: writing what a crash or a full disk cannot leave half done."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.targets.rows import Keys, as_keys
from spark_jobs.targets.stamp import check_stamp
from spark_jobs.targets.target import RowFormat

# Readers of folders of data pass over names that begin so.
MARK = "_embedlake.json"
STAGING = "_embedlake-staging"

REMOVED = -1

_GROUP_ROWS = 8192


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Says in words that a folder cannot be written. Only writes belong inside, no reading of the rows that come.

    Args:
        folder: The target's folder.

    Raises:
        InputError: The disk is full, or the folder may not be written.
    """
    try:
        yield
    # Arrow's errors of files are OSErrors; faiss and usearch raise RuntimeErrors of their own.
    except (OSError, RuntimeError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise InputError(
            f"the folder {folder} cannot be written: {cause}: make room there, or check that the job may write, then "
            "export again; the rows that were there before are still there"
        ) from error


def found_in(folder: Path, kind: str) -> dict[str, Any] | None:
    """Reads what a folder says about itself.

    Args:
        folder: The target's folder.
        kind: The kind of target.

    Returns:
        What `_embedlake.json` says; None where nothing is there yet.

    Raises:
        InputError: The folder cannot be read, or holds something else.
    """
    try:
        names = set(os.listdir(folder))
        text = (folder / MARK).read_text(encoding="utf-8") if MARK in names else None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "its mark is no text"
        raise InputError(f"the folder {folder} cannot be read as a target: {cause}: name another folder") from error
    if text is None:
        if names - {STAGING}:
            raise InputError(
                f"the folder {folder} holds what embedlake did not make, such as {min(names - {STAGING})!a}: "
                "name an empty or a new folder"
            )
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != kind:
        raise InputError(f"the folder {folder} holds no {kind} export of embedlake: name an empty or a new folder")
    return found


def open_folder(folder: Path, kind: str, shape: RowFormat, full: bool) -> dict[str, Any] | None:
    """Makes a folder ready for an export of some rows.

    Args:
        folder: The target's folder.
        kind: The kind of target.
        shape: What the rows look like, and whose they are.
        full: Whether what is there of the same library and space may be replaced.

    Returns:
        What `_embedlake.json` says; None where nothing is there yet.

    Raises:
        InputError: It cannot be written, or holds something else.
    """
    found = found_in(folder, kind)
    if found is not None:
        check_stamp(found, shape, full, f"the folder {folder}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return found


def empty_staging(folder: Path) -> None:
    """Makes a new staging folder beside the data; what an export that was killed left in it goes.

    Args:
        folder: The target's folder.

    Raises:
        InputError: It cannot be written.
    """
    staging = folder / STAGING
    with writing(folder):
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()


def synced(path: Path) -> Path:
    """Has the disk keep a file or a folder's names through a loss of power.

    Args:
        path: The file or folder.

    Returns:
        The same path.
    """
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
    return path


def write_stamp(folder: Path, said: dict[str, Any]) -> None:
    """Replaces `_embedlake.json` at once: a reader sees the old one or the new one.

    Args:
        folder: The target's folder.
        said: What it is to say.
    """
    beside = folder / STAGING / MARK
    beside.parent.mkdir(exist_ok=True)
    beside.write_text(json.dumps(said, indent=1, ensure_ascii=True), encoding="ascii")
    synced(beside).replace(folder / MARK)
    synced(folder)


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


def read_columns(path: Path, names: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Reads a file in bounded memory.

    Args:
        path: Parquet file.
        names: Columns; all where None.

    Yields:
        Batches with these columns.

    Raises:
        InputError: The file is not there or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_GROUP_ROWS, columns=names):
                # Columns are asked for by path: `a` brings a column with the plain name `a.b` too.
                yield batch if names is None else batch.select(names)
    except (OSError, pa.ArrowInvalid) as error:
        raise damaged(path) from error


def count_rows(path: Path) -> int:
    """Counts the rows of a file by what it says of itself.

    Args:
        path: Parquet file.

    Returns:
        Rows.

    Raises:
        InputError: The file is not there or damaged.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid) as error:
        raise damaged(path) from error


def damaged(path: Path) -> InputError:
    """Says that a file of an export cannot be used.

    Args:
        path: The file.

    Returns:
        The error, to be raised.
    """
    return InputError(f"the exported file {path} is not there or damaged: export with --full to replace all of it")


def row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gathers batches, so that each is worth a row group of its own.

    Args:
        batches: Batches of one schema.

    Yields:
        Tables of 8,192 rows or more, but for the last.
    """
    kept: list[pa.RecordBatch] = []
    for batch in batches:
        kept.append(batch)
        if sum(part.num_rows for part in kept) >= _GROUP_ROWS:
            yield pa.Table.from_batches(kept)
            kept = []
    if kept:
        yield pa.Table.from_batches(kept)
