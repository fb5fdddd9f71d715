"""Reads the tables of a store without Spark: rows with `deltalake`, files with pyarrow, Delta's log as JSON."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder
from numpy.typing import NDArray

_FREE = {"run_id", "embedding"}


def read_rows(table: Path, columns: str = "*", version: int | None = None) -> pa.Table:
    """Reads the rows of a table, in order of their first column.

    Args:
        table: The table's folder.
        columns: What stands after SELECT.
        version: Version of the table; the current one where None.

    Returns:
        The rows.
    """
    # By the query engine, for the plain reader refuses tables with deletion vectors.
    query = QueryBuilder().register("t", DeltaTable(table, version=version))
    return pa.table(query.execute(f"SELECT {columns} FROM t ORDER BY 1").read_all())


def read_set(table: Path, column: str, version: int | None = None) -> set[str]:
    """Reads the distinct values of a column.

    Args:
        table: The table's folder.
        column: Name of the column.
        version: Version of the table; the current one where None.

    Returns:
        The values.
    """
    return set(read_rows(table, f"DISTINCT {column}", version)[column].to_pylist())


def version_of(table: Path) -> int:
    """Finds the current version of a table.

    Args:
        table: The table's folder.

    Returns:
        The version.
    """
    return int(DeltaTable(table).version())


def state_of(tables: Collection[Path]) -> str:
    """Sums up what tables hold, to be compared later.

    Args:
        tables: The tables' folders.

    Returns:
        Name, version and number of rows of each.
    """
    counts = {table: read_rows(table, "COUNT(*) AS rows")["rows"][0].as_py() for table in tables}
    return ", ".join(f"{table.name} version {version_of(table)} with {rows:,} rows" for table, rows in counts.items())


def differing_columns(one: pa.Table, other: pa.Table) -> list[str]:
    """Compares two readings of `vectors`, apart from the runs that wrote them and the vectors themselves.

    Args:
        one: Rows in order of chunk_id.
        other: Rows in order of chunk_id.

    Returns:
        Names of columns that differ; `rows` where the tables are not equally long.
    """
    if one.num_rows != other.num_rows:
        return ["rows"]
    names = dict.fromkeys([*one.column_names, *other.column_names])
    shared = set(one.column_names) & set(other.column_names)
    return [name for name in names if name not in shared or (name not in _FREE and one[name] != other[name])]


def matrix_of(rows: pa.Table) -> NDArray[np.float32]:
    """Takes the vectors out of rows.

    Args:
        rows: Rows of `vectors`.

    Returns:
        One row for each vector.
    """
    return np.vstack(rows["embedding"].to_numpy())


@dataclass(frozen=True)
class Growth:
    """What commits added to a table.

    Attributes:
        before: Bytes of the data files and deletion vectors that were current before.
        data: Bytes of new data files.
        deletion_vectors: Bytes of new deletion vectors.
        change_data: Bytes of files that only the change feed reads.
    """

    before: int
    data: int
    deletion_vectors: int
    change_data: int

    @property
    def added(self) -> int:
        """Everything that was written."""
        return self.data + self.deletion_vectors + self.change_data


def growth_of(table: Path, first: int, last: int) -> Growth:
    """Reads from Delta's log what the commits after one version, up to another, added.

    Args:
        table: The table's folder.
        first: Version before the commits.
        last: Version after them.

    Returns:
        Bytes as the log states them.
    """
    sizes: dict[str, int] = {}
    vectors: dict[str, int] = {}
    before = data = marked = changes = 0
    for version in range(last + 1):
        if version == first + 1:
            before = sum(sizes.values()) + sum(vectors.values())
        is_new = version > first
        actions = _actions(table, version)
        # A data file that gets a deletion vector is removed and added under the same path: it is not written again.
        known = dict(sizes)
        for path in (action["remove"]["path"] for action in actions if "remove" in action):
            sizes.pop(path, None)
            vectors.pop(path, None)
        for add in (action["add"] for action in actions if "add" in action):
            sizes[add["path"]] = add["size"]
            mark = (add.get("deletionVector") or {}).get("sizeInBytes", 0)
            vectors[add["path"]] = mark
            data += add["size"] if is_new and add["path"] not in known else 0
            marked += mark if is_new else 0
        changes += sum(action["cdc"]["size"] for action in actions if "cdc" in action) if is_new else 0
    return Growth(before, data, marked, changes)


def _actions(table: Path, version: int) -> list[dict[str, Any]]:
    lines = (table / "_delta_log" / f"{version:020d}.json").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def rows_in_files(folder: Path, doc_ids: Collection[str]) -> int:
    """Counts the rows of documents in all Parquet files of a folder, whether or not a table still names the file.

    Args:
        folder: A table's folder, or a whole store.
        doc_ids: Ids of the documents.

    Returns:
        The rows; files without a column doc_id have none.
    """
    wanted, found = pa.array(sorted(doc_ids), pa.string()), 0
    for file in sorted(folder.rglob("*.parquet")):
        if "_delta_log" not in file.parts and "doc_id" in pq.read_schema(file).names:
            ids = pq.ParquetFile(file).read(columns=["doc_id"])["doc_id"]
            found += pc.sum(pc.is_in(ids, value_set=wanted)).as_py() or 0
    return found
