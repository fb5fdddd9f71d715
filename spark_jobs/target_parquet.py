"""A folder of Parquet files that any reader opens as one data set."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.target_changes import Changes
from spark_jobs.target_exact import exact_nearest
from spark_jobs.target_files import STAGING, empty_staging, found_in, open_folder, synced, write_mark, writing
from spark_jobs.target_mark import mark_of, same_owner
from spark_jobs.target_parquet_files import Rewrite, count_rows, plan_rewrites, read_columns, rows_per_file, write_next
from spark_jobs.target_rows import conformed, plain_schema
from spark_jobs.targets import Shape

KIND = "parquet"


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
        self._shape: Shape | None = None
        self._changes: Changes | None = None
        self._is_full = False

    def prepare(self, shape: Shape, full: bool) -> bool:
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

    def _next_said(self, shape: Shape, files: dict[str, int], rewrites: list[Rewrite]) -> dict[str, Any]:
        said = {
            "kind": KIND,
            **mark_of(shape),
            "files": files,
            "next": self._said["next"] + sum(rewrite.is_new for rewrite in rewrites),
            "arriving": [rewrite.name for rewrite in rewrites if rewrite.name in files],
            "leaving": [name for name in self._said["files"] if name not in files],
        }
        synced(self._folder / STAGING)
        write_mark(self._folder, said)
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

    def _prepared(self) -> tuple[Shape, Changes]:
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
    write_mark(folder, done)
    return done
