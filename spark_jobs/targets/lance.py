"""A table of LanceDB in a folder."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.targets.address import Address
from spark_jobs.targets.rows import as_ids, as_keys, conformed, in_groups, plain_schema
from spark_jobs.targets.stamp import check_stamp, same_owner, stamp_of
from spark_jobs.targets.target import RowFormat

# A merge is a commit, and looks for each of its rows; a delete names each of its ids.
_GROUP_BYTES, _MOST_GROUP_ROWS, _ROW_BYTES = 64 * 1024 * 1024, 50_000, 1024
_DELETED_IDS = 1000
_PAGE_ROWS = 8192
# Below, every vector is looked at, which takes milliseconds.
_INDEXED_ROWS = 50_000
_PROBES = 64

MARK = b"embedlake"
# Columns of LanceDB's own, in tables or in results of searches.
_OWN_COLUMNS = {
    "_distance",
    "_relevance_score",
    "_row_created_at_version",
    "_row_last_updated_at_version",
    "_rowaddr",
    "_rowid",
    "_rowoffset",
    "_score",
}


class LanceTarget:
    """A table with all columns, an index on chunk_id, and from 50,000 rows on one on embedding (IVF, dot product).

    Each merge and each delete is a version of its own that readers see at once; an export that is killed leaves some of
    it. Whose rows they are stands in the metadata of the table's schema. `finish` folds new rows into the indexes,
    compacts files, and drops versions older than a week. With `full` the table begins anew as its next version.

    Args:
        address: Folder and table.

    Raises:
        InputError: LanceDB is not installed.
    """

    def __init__(self, address: Address) -> None:
        self._lancedb = load_lancedb()
        self._address = address
        self._shape: RowFormat | None = None
        self._table: Any = None

    def prepare(self, shape: RowFormat, full: bool) -> bool:
        """Makes the table, or checks the one that is there; see `Target`."""
        schema = plain_schema(shape.rows)
        check_names(schema)
        table = self._opened()
        found = None
        if table is not None:
            with refusals(self._address):
                there = table.schema
            found = stamp_in(there)
            check_stamp(found, shape, full, f"{self._address}: the table")
            if not full and not plain_schema(there).equals(schema):
                raise InputError(
                    f"{self._address}: something else than embedlake changed the table's columns: export with --full "
                    "to replace all of it"
                )
        if table is None or full:
            mark = json.dumps(stamp_of(shape), ensure_ascii=True).encode("ascii")
            with refusals(self._address):
                table = self._lancedb.connect(self._address.place).create_table(
                    self._address.name, schema=schema.with_metadata({MARK: mark}), mode="overwrite"
                )
        self._table, self._shape = table, shape
        return same_owner(found, shape)

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists chunk_id and run_id of every row; see `Target`."""
        table = self._opened()
        if table is None:
            return
        with refusals(self._address):
            batches = table.search().select(["chunk_id", "run_id"]).to_batches(_PAGE_ROWS)
        while True:
            with refusals(self._address):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch.select(["chunk_id", "run_id"])

    def send(self, rows: Iterable[pa.RecordBatch]) -> None:
        """Merges rows, some thousands at a time; see `Target`."""
        shape, table = self._prepared()
        size = min(_MOST_GROUP_ROWS, max(1, _GROUP_BYTES // (4 * shape.dimension + _ROW_BYTES)))
        for batch in in_groups(conformed(rows, plain_schema(shape.rows)), size):
            with refusals(self._address):
                merge = table.merge_insert("chunk_id").when_matched_update_all().when_not_matched_insert_all()
                merge.execute(pa.Table.from_batches([batch]))

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Deletes rows, a thousand at a time; see `Target`."""
        _, table = self._prepared()
        for part in ids:
            for start in range(0, len(part), _DELETED_IDS):
                # LanceDB takes no parameters. Ids are written anew from their bytes: nothing else can get in.
                some: list[Any] = as_ids(as_keys(part.slice(start, _DELETED_IDS))).to_pylist()
                with refusals(self._address):
                    table.delete("chunk_id IN ('" + "', '".join(some) + "')")

    def finish(self) -> None:
        """Brings indexes and files up to date; see `Target`."""
        from lancedb.index import BTree, IvfFlat

        _, table = self._prepared()
        with refusals(self._address):
            rows = table.count_rows()
            indexes = {index.columns[0]: index for index in table.list_indices()}
            if rows and "chunk_id" not in indexes:
                table.create_index("chunk_id", config=BTree())
            vectors = indexes.get("embedding")
            # Its lists are those of the rows that were there when it was made.
            is_outgrown = vectors is not None and vectors.num_unindexed_rows > vectors.num_indexed_rows
            if rows >= _INDEXED_ROWS and (vectors is None or is_outgrown):
                table.create_index("embedding", config=IvfFlat(distance_type="dot"), replace=True)
            table.optimize()

    def count(self) -> int:
        """Counts the rows; see `Target`."""
        table = self._opened()
        with refusals(self._address):
            return int(table.count_rows()) if table is not None else 0

    def nearest(self, asked: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches as an application would, but for the lists looked at; see `Target`."""
        table, hits = self._opened(), []
        if table is None:
            return [[] for _ in asked]
        for vector in asked:
            with refusals(self._address):
                query = table.search(vector, vector_column_name="embedding", query_type="vector")
                found = query.distance_type("dot").nprobes(_PROBES).select(["chunk_id", "_distance"]).limit(k)
                hits.append(found.to_arrow().column("chunk_id").to_pylist())
        return hits

    def notes(self) -> list[str]:
        """Has nothing to tell; see `Target`."""
        return []

    def close(self) -> None:
        """Lets go of the table; see `Target`."""
        self._table = self._shape = None

    def _opened(self) -> Any:
        """Returns the table; None where there is none."""
        if self._table is None:
            place = Path(self._address.place)
            with refusals(self._address):
                if not (place / f"{self._address.name}.lance" / "_versions").is_dir():
                    return None
                self._table = self._lancedb.connect(str(place)).open_table(self._address.name)
        return self._table

    def _prepared(self) -> tuple[RowFormat, Any]:
        if self._shape is None:
            raise RuntimeError("prepare comes before send, remove and finish")
        return self._shape, self._table


def load_lancedb() -> Any:
    """Imports LanceDB.

    Returns:
        The package.

    Raises:
        InputError: It is not installed.
    """
    # It writes warnings of no use to anybody straight to standard error.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb
    except ImportError as error:
        raise InputError("the target lancedb needs lancedb: pip install 'embedlake[lancedb]'") from error
    return lancedb


def stamp_in(schema: pa.Schema) -> Any:
    """Reads the mark of a table.

    Args:
        schema: The table's schema.

    Returns:
        The mark; anything else where there is none.
    """
    try:
        return json.loads((schema.metadata or {}).get(MARK, b""))
    except ValueError:
        return None


def check_names(rows: pa.Schema) -> None:
    """Refuses column names that LanceDB cannot hold.

    Args:
        rows: Columns of an export.

    Raises:
        InputError: There are such names; each is named.
    """
    faults = [
        f"the payload column {field.name!a} cannot be kept by LanceDB: rename it in the source, to a name of its own "
        "without dots, backticks and NUL characters"
        for field in rows
        # Parts of structs may have any name without NUL.
        if not field.name or field.name in _OWN_COLUMNS or set(field.name) & set(".`\0") or "\0" in str(field.type)
    ]
    if faults:
        raise InputError(faults)


@contextmanager
def refusals(address: Address) -> Iterator[None]:
    """Says in words what LanceDB refuses.

    Args:
        address: The target.

    Raises:
        InputError: It was refused.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        # Its messages may quote rows: of them only the system's own words are repeated.
        found = re.search(r"([A-Z][A-Za-z ]*) \(os error \d+\)", str(error)) or re.search(
            r"LanceError\((\w+)\)", str(error)
        )
        cause = found[1] if found else type(error).__name__
        raise InputError(
            f"{address}: the table cannot be read or written ({cause}): make room there, or check that the job may "
            "write, then export again"
        ) from None
