"""The files of a Parquet export: which of them hold changed rows, and their next versions."""

from collections.abc import Iterable, Iterator, Mapping
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
from spark_jobs.target_rows import as_keys

_FILE_BYTES = 128 * 1024 * 1024
# Text, payload and ids of a row, roughly; the vector is counted exactly.
_ROW_BYTES = 1024
_GROUP_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The next version of one file.

    Attributes:
        name: The file's name, which it keeps.
        is_new: Whether there is no file of this name yet.
        added: Positions in the changes of the rows that go in, ascending.
        rows: Rows it will have.
    """

    name: str
    is_new: bool
    added: NDArray[np.int64]
    rows: int


def rows_per_file(dimension: int) -> int:
    """Chooses how many rows a file has at most, so that rewriting one stays cheap.

    Args:
        dimension: Numbers of an embedding.

    Returns:
        The number of rows.
    """
    return max(1000, _FILE_BYTES // (4 * dimension + _ROW_BYTES))


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


def plan_rewrites(folder: Path, files: Mapping[str, int], changes: Changes, most: int, number: int) -> list[Rewrite]:
    """Finds the files that hold changed rows, by their id columns, and a place for the rows that are new.

    A row that is replaced stays in its file, so that no reader finds it in two.

    Args:
        folder: Where the files are.
        files: Rows of each file, by name.
        changes: What changes, settled.
        most: Most rows of a file.
        number: Number of the next new file.

    Returns:
        The files to rewrite and to write; one that will have no rows has none.
    """
    fresh = changes.positions != REMOVED
    found: dict[str, Rewrite] = {}
    for name, rows in files.items():
        parts: list[NDArray[np.int64]] = []
        for batch in read_columns(folder / name, ["chunk_id"]):
            changed, at = changes.places_of(as_keys(batch.column(0)))
            parts.append(at[changed])
        hits = np.concatenate([np.empty(0, dtype=np.int64), *parts])
        if len(hits):
            fresh[hits] = False
            added = np.sort(changes.positions[hits])
            added = added[added != REMOVED]
            found[name] = Rewrite(name, False, added, rows - len(hits) + len(added))
    return _with_new_rows(found, files, np.sort(changes.positions[fresh]), most, number)


def _with_new_rows(
    found: dict[str, Rewrite], files: Mapping[str, int], new: NDArray[np.int64], most: int, number: int
) -> list[Rewrite]:
    # The smallest file takes new rows if they fit: exports of a few rows each leave few files, not many small ones.
    if len(new) and files:
        sizes = {name: found[name].rows if name in found else rows for name, rows in files.items()}
        name = min(sizes, key=lambda name: (sizes[name], name))
        if sizes[name] + len(new) <= most:
            kept = found[name].added if name in found else np.empty(0, dtype=np.int64)
            added = np.sort(np.concatenate([kept, new]))
            return [*(r for r in found.values() if r.name != name), Rewrite(name, False, added, sizes[name] + len(new))]
    parts = [new[start : start + most] for start in range(0, len(new), most)]
    names = [f"part-{number + at:06d}.parquet" for at in range(len(parts))]
    return [*found.values(), *(Rewrite(name, True, part, len(part)) for name, part in zip(names, parts, strict=True))]


def write_next(rewrite: Rewrite, folder: Path, staging: Path, changes: Changes, schema: pa.Schema) -> None:
    """Writes the next version of a file beside the data.

    Args:
        rewrite: What it will hold.
        folder: Where the files are.
        staging: Where the next version goes, under the same name.
        changes: What changes, settled.
        schema: Columns of the rows.
    """
    path = staging / rewrite.name
    # ParquetWriter takes names of columns too, which its stubs do not say.
    plain: Any = [field.name for field in schema if field.name != "embedding"]
    # A dictionary or the least and greatest of vectors would help nobody.
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=plain, write_statistics=plain) as writer:
        for table in row_groups(_next_rows(rewrite, folder, changes, schema)):
            writer.write_table(table)
    synced(path)


def _next_rows(rewrite: Rewrite, folder: Path, changes: Changes, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if not rewrite.is_new:
        for batch in read_columns(folder / rewrite.name):
            changed, _ = changes.places_of(as_keys(batch.column("chunk_id")))
            yield batch.filter(pa.array(~changed)).select(schema.names).cast(schema)
    yield from changes.rows(rewrite.added)


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
