"""A LanceDB table in a folder."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.targets.address import Address
from spark_jobs.targets.rows import as_ids, as_keys, conform, plain_schema, regroup
from spark_jobs.targets.stamp import check_stamp, same_owner, stamp_of
from spark_jobs.targets.target import RowFormat, optional_package

# A merge is a commit and looks up each of its rows; a delete names each of its ids.
_GROUP_BYTES, _MOST_GROUP_ROWS, _ROW_BYTES = 64 * 1024 * 1024, 50_000, 1024
_DELETED_IDS = 1000
_PAGE_ROWS = 8192
# Below this, a search compares every vector, which takes milliseconds.
_INDEXED_ROWS = 50_000
_PROBES = 64

_STAMP_KEY = b"embedlake"
# LanceDB's own columns, in tables or in search results.
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
    """A table with all columns, an index on chunk_id, and from 50,000 rows one on embedding (IVF, dot product).

    Each merge and each delete is a version that readers see immediately; a killed export leaves part of its changes.
    The ownership stamp is in the metadata of the table's schema. `finish` adds new rows to the indexes, compacts files,
    and drops versions older than a week. With `full` the next version of the table starts empty.

    Rows that replace those of another space are collected in a second table. `finish` writes them to the table itself
    as one version. Readers that hold the table open keep the old version until they check out the latest, and those
    that open it get the new rows. Its indexes follow after that.
    """

    def __init__(self, address: Address) -> None:
        self._lancedb = _import_lancedb()
        self._address = address
        self._row_format: RowFormat | None = None
        # The second table takes rows that replace those of another space.
        self._table: Any = None
        self._second: Any = None

    def stamp(self) -> object:
        """Reads the stamp from the metadata of the table's schema; see `Target`."""
        table = self._open()
        if table is None:
            return None
        with refusals(self._address):
            return _stamp_in(table.schema)

    def prepare(self, row_format: RowFormat, full: bool) -> bool:
        """Creates the table, or checks the existing one; see `Target`."""
        schema = plain_schema(row_format.rows)
        check_names(schema)
        table, stamp, replaced = self._open(), self.stamp(), None
        if table is not None:
            replaced = check_stamp(stamp, row_format, full, f"{self._address}: the table")
            with refusals(self._address):
                is_same = plain_schema(table.schema).equals(schema)
            if not full and replaced is None and not is_same:
                raise InputError(
                    f"{self._address}: something other than embedlake changed the table's columns. Export with --full "
                    "to replace all of it."
                )
        with refusals(self._address):
            database = self._lancedb.connect(self._address.location)
            database.drop_table(self._second_name, ignore_missing=True)
            if table is None or (full and replaced is None):
                table = database.create_table(self._address.name, schema=_stamped(row_format), mode="overwrite")
            self._second = database.create_table(self._second_name, schema=schema) if replaced is not None else None
        self._table, self._row_format = table, row_format
        return same_owner(stamp, row_format)

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists chunk_id and run_id of every row; see `Target`."""
        table = self._open()
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
        """Merges rows, a few thousand at a time; see `Target`."""
        row_format, table = self._prepared()
        table = table if self._second is None else self._second
        size = min(_MOST_GROUP_ROWS, max(1, _GROUP_BYTES // (4 * row_format.dimension + _ROW_BYTES)))
        for batch in regroup(conform(rows, plain_schema(row_format.rows)), size):
            with refusals(self._address):
                merge = table.merge_insert("chunk_id").when_matched_update_all().when_not_matched_insert_all()
                merge.execute(pa.Table.from_batches([batch]))

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Deletes rows, a thousand at a time; see `Target`."""
        _, table = self._prepared()
        table = table if self._second is None else self._second
        for array in ids:
            for start in range(0, len(array), _DELETED_IDS):
                # LanceDB takes no parameters. Ids are rebuilt from their bytes, so nothing can be injected.
                group: list[Any] = as_ids(as_keys(array.slice(start, _DELETED_IDS))).to_pylist()
                with refusals(self._address):
                    table.delete("chunk_id IN ('" + "', '".join(group) + "')")

    def finish(self) -> None:
        """Brings indexes and files up to date; see `Target`."""
        from lancedb.index import BTree, IvfFlat

        row_format, table = self._prepared()
        if self._second is not None:
            table = self._switch(row_format)
        with refusals(self._address):
            rows = table.count_rows()
            indexes = {index.columns[0]: index for index in table.list_indices()}
            if rows and "chunk_id" not in indexes:
                table.create_index("chunk_id", config=BTree())
            vectors = indexes.get("embedding")
            # Its lists fit the rows that existed when it was built.
            is_outgrown = vectors is not None and vectors.num_unindexed_rows > vectors.num_indexed_rows
            if rows >= _INDEXED_ROWS and (vectors is None or is_outgrown):
                table.create_index("embedding", config=IvfFlat(distance_type="dot"), replace=True)
            table.optimize()

    def count(self) -> int:
        """Counts the rows; see `Target`."""
        table = self._open()
        with refusals(self._address):
            return int(table.count_rows()) if table is not None else 0

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches as an application would, but in more lists; see `Target`."""
        table, hits = self._open(), []
        if table is None:
            return [[] for _ in queries]
        for vector in queries:
            with refusals(self._address):
                query = table.search(vector, vector_column_name="embedding", query_type="vector")
                found = query.distance_type("dot").nprobes(_PROBES).select(["chunk_id", "_distance"]).limit(k)
                hits.append(found.to_arrow().column("chunk_id").to_pylist())
        return hits

    def notes(self) -> list[str]:
        """Has none; see `Target`."""
        return []

    def close(self) -> None:
        """Releases the table, and removes the second one; see `Target`."""
        if self._second is not None:
            # The next export tries again.
            with suppress(InputError), refusals(self._address):
                self._lancedb.connect(self._address.location).drop_table(self._second_name, ignore_missing=True)
        self._table = self._second = self._row_format = None

    @property
    def _second_name(self) -> str:
        return f"{self._address.name}.embedlake-next"

    def _switch(self, row_format: RowFormat) -> Any:
        """Writes the second table's rows to the table as its next version, and drops the second one."""
        schema = _stamped(row_format)
        with refusals(self._address):
            database = self._lancedb.connect(self._address.location)
            found = self._second.search().select(schema.names).to_batches(_PAGE_ROWS)
            rows = pa.RecordBatchReader.from_batches(
                schema, (batch.select(schema.names).cast(schema) for batch in found)
            )
            self._table = database.create_table(self._address.name, data=rows, schema=schema, mode="overwrite")
            database.drop_table(self._second_name, ignore_missing=True)
        self._second = None
        return self._table

    def _open(self) -> Any:
        """Returns the table; None if it does not exist."""
        if self._table is None:
            folder = Path(self._address.location)
            with refusals(self._address):
                if not (folder / f"{self._address.name}.lance" / "_versions").is_dir():
                    return None
                self._table = self._lancedb.connect(str(folder)).open_table(self._address.name)
        return self._table

    def _prepared(self) -> tuple[RowFormat, Any]:
        if self._row_format is None:
            raise RuntimeError("call prepare before send, remove and finish")
        return self._row_format, self._table


def check_names(rows: pa.Schema) -> None:
    """Raises an InputError that names every column whose name LanceDB cannot hold."""
    faults = [
        f"the payload column {field.name!a} has a name that LanceDB cannot hold. Rename it in the source, without "
        "dots, backticks and NUL characters, and not to one of LanceDB's own names."
        for field in rows
        # Fields of structs may have any name without NUL.
        if not field.name or field.name in _OWN_COLUMNS or set(field.name) & set(".`\0") or "\0" in str(field.type)
    ]
    if faults:
        raise InputError(faults)


@contextmanager
def refusals(address: Address) -> Iterator[None]:
    """Turns LanceDB's errors into InputErrors."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        # LanceDB's messages may quote rows, so only the system's own words are repeated.
        found = re.search(r"([A-Z][A-Za-z ]*) \(os error \d+\)", str(error)) or re.search(
            r"LanceError\((\w+)\)", str(error)
        )
        cause = found[1] if found else type(error).__name__
        raise InputError(
            f"{address}: the table cannot be read or written ({cause}). Free up disk space, or check that the job may "
            "write there, then export again."
        ) from None


def _import_lancedb() -> Any:
    # It writes useless warnings straight to standard error.
    os.environ.setdefault("LANCEDB_LOG", "error")
    with optional_package("lancedb", "lancedb"):
        import lancedb

    return lancedb


def _stamped(row_format: RowFormat) -> pa.Schema:
    """The columns of the table, with the ownership stamp as metadata."""
    text = json.dumps(stamp_of(row_format), ensure_ascii=True).encode("ascii")
    return plain_schema(row_format.rows).with_metadata({_STAMP_KEY: text})


def _stamp_in(schema: pa.Schema) -> Any:
    """Reads the ownership stamp from a table's schema; returns something else if it has none."""
    try:
        return json.loads((schema.metadata or {}).get(_STAMP_KEY, b""))
    except ValueError:
        return None
