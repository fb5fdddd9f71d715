"""A folder of Parquet files that any reader opens as one data set."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spark_jobs.targets.folders import (
    REMOVED,
    STAGING,
    Changes,
    count_rows,
    empty_staging,
    found_in,
    open_folder,
    read_columns,
    row_groups,
    synced,
    write_stamp,
    writing,
)
from spark_jobs.targets.rows import Keys, as_ids, as_keys, conformed, matrix_of, plain_schema
from spark_jobs.targets.stamp import same_owner, stamp_of
from spark_jobs.targets.target import RowFormat

KIND = "parquet"

_FILE_BYTES = 128 * 1024 * 1024
# Text, payload and ids of a row, roughly; the vector is counted exactly.
_ROW_BYTES = 1024


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


class ParquetTarget:
    """A folder of `part-*.parquet` files with all columns, and `_embedlake.json`, which readers of data pass over.

    Rows come beside the data first. `finish` writes the next version of each file that holds a changed row there,
    then says in `_embedlake.json` which files take whose place: from then on the export is done. Then it renames: each
    file takes its predecessor's name at once, and a replaced row stays in its file. What is killed before that leaves
    the old rows; what is killed within the renames is carried on by the next `prepare`.

    A reader that lists the folder while these renames go on may see some files as they were and others as they will
    be: each chunk in one state or the other, never half a file and no chunk twice. With `full` the files are others
    than before: within these renames such a reader may miss chunks or see one twice. A reader that opened a file before
    it was replaced keeps the old one.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: dict[str, Any] = {"files": {}, "next": 0}
        self._shape: RowFormat | None = None
        self._changes: Changes | None = None
        self._is_full = False

    def prepare(self, shape: RowFormat, full: bool) -> bool:
        """Makes the folder ready; see `Target`."""
        found = open_folder(self._folder, KIND, shape, full)
        if found is not None:
            with writing(self._folder):
                found = _carried_on(self._folder, found)
        self._said = found or {"files": {}, "next": 0}
        self._shape, self._is_full = shape, full or found is None
        empty_staging(self._folder)
        self._changes = Changes(self._folder, plain_schema(shape.rows))
        return same_owner(found, shape)

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists chunk_id and run_id of every row, as `finish` last left them; see `Target`."""
        for name in self._files():
            yield from read_columns(self._folder / name, ["chunk_id", "run_id"])

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
        """Writes the files that change, and brings them into force; see `Target`."""
        shape, changes = self._prepared()
        changes.settle()
        old = {} if self._is_full else self._said["files"]
        rewrites = plan_rewrites(self._folder, old, changes, rows_per_file(shape.dimension), self._said["next"])
        if not rewrites and not self._is_full:
            self.close()
            return
        kept = {name: rows for name, rows in old.items() if name not in {r.name for r in rewrites}}
        files = kept | {rewrite.name: rewrite.rows for rewrite in rewrites if rewrite.rows}
        if not files:
            # A folder without any file would not tell a reader the columns.
            empty = Rewrite(f"part-{self._said['next']:06d}.parquet", True, np.empty(0, dtype=np.int64), 0)
            rewrites.append(empty)
            files = {empty.name: 0}
        with writing(self._folder):
            for rewrite in rewrites:
                if rewrite.name in files:
                    write_next(rewrite, self._folder, self._folder / STAGING, changes, plain_schema(shape.rows))
            self._said = _carried_on(self._folder, self._next_said(shape, files, rewrites))
        self.close()

    def _next_said(self, shape: RowFormat, files: dict[str, int], rewrites: list[Rewrite]) -> dict[str, Any]:
        said = {
            "kind": KIND,
            **stamp_of(shape),
            "files": files,
            "next": self._said["next"] + sum(rewrite.is_new for rewrite in rewrites),
            "arriving": [rewrite.name for rewrite in rewrites if rewrite.name in files],
            "leaving": [name for name in self._said["files"] if name not in files],
        }
        synced(self._folder / STAGING)
        write_stamp(self._folder, said)
        return said

    def count(self) -> int:
        """Counts the rows by what the files say of themselves; see `Target`."""
        return sum(count_rows(self._folder / name) for name in self._files())

    def nearest(self, asked: NDArray[np.float32], k: int) -> list[list[str]]:
        """Compares with every vector, for files have no index; see `Target`."""
        batches = (
            batch for name in self._files() for batch in read_columns(self._folder / name, ["chunk_id", "embedding"])
        )
        return exact_nearest(batches, asked, k)

    def notes(self) -> list[str]:
        """Has nothing to tell; see `Target`."""
        return []

    def close(self) -> None:
        """Gives up what was not finished; see `Target`."""
        if self._changes is not None:
            self._changes.close()
            self._changes = None
            shutil.rmtree(self._folder / STAGING, ignore_errors=True)

    def _files(self) -> list[str]:
        said = self._said if self._shape else found_in(self._folder, KIND) or {"files": {}}
        return list(said["files"])

    def _prepared(self) -> tuple[RowFormat, Changes]:
        if self._shape is None or self._changes is None:
            raise RuntimeError("prepare comes before send, remove and finish")
        return self._shape, self._changes


def _carried_on(folder: Path, said: dict[str, Any]) -> dict[str, Any]:
    """Renames what is still to be renamed, however often it was begun."""
    if not said.get("arriving") and not said.get("leaving"):
        return said
    for name in said["arriving"]:
        if (folder / STAGING / name).exists():
            (folder / STAGING / name).replace(folder / name)
    for name in said["leaving"]:
        (folder / name).unlink(missing_ok=True)
    synced(folder)
    done = {key: value for key, value in said.items() if key not in ("arriving", "leaving")}
    write_stamp(folder, done)
    return done


def rows_per_file(dimension: int) -> int:
    """Chooses how many rows a file has at most, so that rewriting one stays cheap.

    Args:
        dimension: Numbers of an embedding.

    Returns:
        The number of rows.
    """
    return max(1000, _FILE_BYTES // (4 * dimension + _ROW_BYTES))


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


def exact_nearest(batches: Iterable[pa.RecordBatch], asked: NDArray[np.float32], k: int) -> list[list[str]]:
    """Finds the vectors with the greatest dot products, in memory of one batch.

    Args:
        batches: Columns chunk_id string, embedding fixed_size_list<float32>[dimension].
        asked: (n, dimension) float32.
        k: Most hits for each, 1 or more.

    Returns:
        For each vector asked for, chunk ids, best first; of equal ones the smaller id first.
    """
    scores = [np.empty(0, dtype=np.float32) for _ in asked]
    keys = [np.empty(0, dtype="S16") for _ in asked]
    for batch in batches:
        found = asked @ matrix_of(batch.column("embedding")).T
        ids = as_keys(batch.column("chunk_id"))
        for at, row in enumerate(found):
            merged, named = np.concatenate([scores[at], row]), np.concatenate([keys[at], ids])
            scores[at], keys[at] = _best(merged, named, k)
    # None of them is null, which the stubs cannot know.
    found_ids: list[list[Any]] = [as_ids(row).to_pylist() for row in keys]
    return found_ids


def _best(scores: NDArray[np.float32], keys: Keys, k: int) -> tuple[NDArray[np.float32], Keys]:
    if len(scores) > k:
        # Equal ones are kept for the ids to decide: the answer is the same however the batches were cut.
        likely = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        scores, keys = scores[likely], keys[likely]
    order = np.lexsort((keys, -scores))[:k]
    return scores[order], keys[order]
