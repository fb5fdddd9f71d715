"""A folder of Parquet files that any reader opens as one data set."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.targets.folder_exchange import clear_beside, exchange_files
from spark_jobs.targets.folder_target import REMOVED, Changes, FolderTarget
from spark_jobs.targets.folders import (
    MANIFEST,
    STAGING,
    count_rows,
    prepare_folder,
    read_columns,
    sync,
    write_manifest,
    write_rows,
    writing,
)
from spark_jobs.targets.rows import Keys, as_ids, as_keys, matrix_of, plain_schema
from spark_jobs.targets.stamp import stamp_of
from spark_jobs.targets.target import RowFormat

KIND = "parquet"
_OWN_FILE = re.compile(r"part-[0-9]+\.parquet")

_FILE_BYTES = 128 * 1024 * 1024
# Approximate size of a row's text, payload and ids; the vector is counted exactly.
_ROW_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The next version of one file.

    Attributes:
        name: The file's name, which stays.
        is_new: Whether no file of this name exists yet.
        added: Positions of the rows to add among the changes, ascending.
        rows: Number of rows it will have.
    """

    name: str
    is_new: bool
    added: NDArray[np.int64]
    rows: int


class ParquetTarget(FolderTarget):
    """A folder of `part-*.parquet` files with all columns, and `_embedlake.json`, which readers of data skip.

    Rows are first collected next to the data. `finish` also writes the next version of each file with a changed row
    there, then records in `_embedlake.json` which files arrive and which leave. From then on the export is done. Then
    it renames: each file replaces its predecessor atomically, and a replaced row stays in its file. An export that is
    killed before the record leaves the old rows. If it is killed while renaming, the next `prepare` completes it.

    A reader that lists the folder during the renames may see some files in their old state and others in their new
    state. It sees each chunk in one state or the other, never half a file and no chunk twice. A reader that opened a
    file before it was replaced keeps the old one.

    If all rows are replaced, the new files get a folder beside this one, and both are exchanged in one step (see
    `folder_exchange`): a listing has all files of the old rows or all of the new ones. No name is used twice, so a
    reader that listed the old files misses those that it has not opened yet, and never opens a new one in their place.
    Where folders cannot be exchanged, the old files leave before the new ones arrive, and `notes` says so.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, KIND)
        self._was_emptied = False

    def prepare(self, row_format: RowFormat, full: bool) -> bool:
        """Prepares the folder; see `Target`."""
        manifest, replaced = prepare_folder(self._folder, KIND, row_format, full)
        with writing(self._folder):
            clear_beside(self._folder, is_ours)
            if manifest is not None:
                manifest = _complete_renames(self._folder, manifest)
        self._was_emptied = False
        return self._begin(manifest, row_format, full or replaced is not None)

    def finish(self) -> None:
        """Writes the files that change, and makes them current; see `Target`."""
        row_format, changes = self._prepared()
        changes.settle()
        before = self._manifest or {"files": {}, "next": 0}
        old = {} if self._is_full else before["files"]
        rewrites = choose_rewrites(self._folder, old, changes, rows_per_file(row_format.dimension), before["next"])
        if not rewrites and not self._is_full:
            self.close()
            return
        kept = {name: rows for name, rows in old.items() if name not in {rewrite.name for rewrite in rewrites}}
        files = kept | {rewrite.name: rewrite.rows for rewrite in rewrites if rewrite.rows}
        if not files:
            # Without any file, a reader would not find the columns.
            empty = Rewrite(f"part-{before['next']:06d}.parquet", True, np.empty(0, dtype=np.int64), 0)
            rewrites.append(empty)
            files = {empty.name: 0}
        manifest = {
            "kind": KIND,
            **stamp_of(row_format),
            "files": files,
            "next": before["next"] + sum(rewrite.is_new for rewrite in rewrites),
            "arriving": [rewrite.name for rewrite in rewrites if rewrite.name in files],
            "leaving": [name for name in before["files"] if name not in files],
        }
        self._write(manifest, [rewrite for rewrite in rewrites if rewrite.name in files], row_format, changes)
        self.close()

    def count(self) -> int:
        """Counts the rows from the files' footers; see `Target`."""
        return sum(count_rows(path) for path in self._row_files())

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[list[str]]:
        """Compares every vector, because files have no index; see `Target`."""
        batches = (batch for path in self._row_files() for batch in read_columns(path, ["chunk_id", "embedding"]))
        return exact_nearest(batches, queries, k)

    def notes(self) -> list[str]:
        """Says if readers were without files for a moment; see `Target`."""
        if not self._was_emptied:
            return []
        return [
            "this file system cannot exchange two folders in one step, so the old files left before the new ones "
            "arrived; readers may have missed rows for a moment"
        ]

    def _row_files(self) -> list[Path]:
        manifest = self._current_manifest()
        return [self._folder / name for name in manifest["files"]] if manifest else []

    def _write(
        self, manifest: dict[str, Any], rewrites: Iterable[Rewrite], row_format: RowFormat, changes: Changes
    ) -> None:
        staging, schema = self._folder / STAGING, plain_schema(row_format.rows)
        with writing(self._folder):
            for rewrite in rewrites:
                write_rows(staging / rewrite.name, _next_rows(rewrite, self._folder, changes, schema), schema)
            sync(staging)
            if self._is_full and self._manifest is not None:
                if exchange_files(self._folder, manifest["arriving"], _completed(manifest), is_ours):
                    self._manifest = _completed(manifest)
                    return
                self._was_emptied = True
            write_manifest(self._folder, manifest)
            self._manifest = _complete_renames(self._folder, manifest)


def is_ours(name: str) -> bool:
    """Whether a name in the folder is one that embedlake gives."""
    return name in (MANIFEST, STAGING) or _OWN_FILE.fullmatch(name) is not None


def rows_per_file(dimension: int) -> int:
    """Chooses the maximum number of rows in a file, so rewriting one stays cheap."""
    return max(1000, _FILE_BYTES // (4 * dimension + _ROW_BYTES))


def choose_rewrites(
    folder: Path, files: Mapping[str, int], changes: Changes, max_rows: int, number: int
) -> list[Rewrite]:
    """Finds the files with changed rows by their id columns, and chooses files for new rows.

    A replaced row stays in its file, so no reader finds it in two.

    Args:
        folder: Folder of the files.
        files: Number of rows in each file, by name.
        changes: The settled changes.
        max_rows: Maximum number of rows in a file.
        number: Number of the next new file.

    Returns:
        The files to rewrite and to create; a file that will be empty has `rows` 0.
    """
    is_new = changes.positions != REMOVED
    rewrites: dict[str, Rewrite] = {}
    for name, rows in files.items():
        found = [np.empty(0, dtype=np.int64)]
        for batch in read_columns(folder / name, ["chunk_id"]):
            changed, indices = changes.find(as_keys(batch.column(0)))
            found.append(indices[changed])
        hits = np.concatenate(found)
        if len(hits):
            is_new[hits] = False
            added = np.sort(changes.positions[hits])
            added = added[added != REMOVED]
            rewrites[name] = Rewrite(name, False, added, rows - len(hits) + len(added))
    return _place_new_rows(rewrites, files, np.sort(changes.positions[is_new]), max_rows, number)


def exact_nearest(batches: Iterable[pa.RecordBatch], queries: NDArray[np.float32], k: int) -> list[list[str]]:
    """Finds the vectors with the greatest dot products, in the memory of one batch.

    Args:
        batches: Columns chunk_id string, embedding fixed_size_list<float32>[dimension].
        queries: (n, dimension) float32.
        k: Maximum number of hits per query, 1 or more.

    Returns:
        The chunk ids found for each query, best first; ties are ordered by id.
    """
    scores = [np.empty(0, dtype=np.float32) for _ in queries]
    keys = [np.empty(0, dtype="S16") for _ in queries]
    for batch in batches:
        products = queries @ matrix_of(batch.column("embedding")).T
        batch_keys = as_keys(batch.column("chunk_id"))
        for number, row in enumerate(products):
            all_scores, all_keys = np.concatenate([scores[number], row]), np.concatenate([keys[number], batch_keys])
            scores[number], keys[number] = _best(all_scores, all_keys, k)
    # No id is null, which the stubs cannot know.
    ids: list[list[Any]] = [as_ids(row).to_pylist() for row in keys]
    return ids


def _complete_renames(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Makes the renames and deletions that remain, however often they were begun; returns the new manifest."""
    if not manifest.get("arriving") and not manifest.get("leaving"):
        return manifest
    # First, so that no reader finds rows of two models.
    for name in manifest["leaving"]:
        (folder / name).unlink(missing_ok=True)
    for name in manifest["arriving"]:
        if (folder / STAGING / name).exists():
            (folder / STAGING / name).replace(folder / name)
    sync(folder)
    write_manifest(folder, _completed(manifest))
    return _completed(manifest)


def _completed(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key not in ("arriving", "leaving")}


def _place_new_rows(
    rewrites: dict[str, Rewrite], files: Mapping[str, int], new: NDArray[np.int64], max_rows: int, number: int
) -> list[Rewrite]:
    # The smallest file takes new rows if they fit: small exports then leave few files instead of many small ones.
    if len(new) and files:
        sizes = {name: rewrites[name].rows if name in rewrites else rows for name, rows in files.items()}
        name = min(sizes, key=lambda name: (sizes[name], name))
        if sizes[name] + len(new) <= max_rows:
            replaced = rewrites[name].added if name in rewrites else np.empty(0, dtype=np.int64)
            added = np.sort(np.concatenate([replaced, new]))
            others = [rewrite for rewrite in rewrites.values() if rewrite.name != name]
            return [*others, Rewrite(name, False, added, sizes[name] + len(new))]
    chunks = [new[start : start + max_rows] for start in range(0, len(new), max_rows)]
    created = [Rewrite(f"part-{number + n:06d}.parquet", True, chunk, len(chunk)) for n, chunk in enumerate(chunks)]
    return [*rewrites.values(), *created]


def _next_rows(rewrite: Rewrite, folder: Path, changes: Changes, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if not rewrite.is_new:
        yield from changes.unchanged_rows(folder / rewrite.name, schema)
    yield from changes.rows(rewrite.added)


def _best(scores: NDArray[np.float32], keys: Keys, k: int) -> tuple[NDArray[np.float32], Keys]:
    if len(scores) > k:
        # Ties are kept for the ids to decide, so the result does not depend on how batches were cut.
        likely = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        scores, keys = scores[likely], keys[likely]
    order = np.lexsort((keys, -scores))[:k]
    return scores[order], keys[order]
