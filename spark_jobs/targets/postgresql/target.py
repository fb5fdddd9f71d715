"""The PostgreSQL target."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.targets.address import PostgresqlAddress
from spark_jobs.targets.postgresql import statements
from spark_jobs.targets.postgresql.columns import MAX_INDEXED, MAX_INDEXED_HALF, Column, columns_of, values_of
from spark_jobs.targets.postgresql.connection import begin, connect, refusals
from spark_jobs.targets.postgresql.table import PreparedTable, prepare_table, read_stamp, replace_table
from spark_jobs.targets.rows import as_keys, conform, plain_schema, regroup
from spark_jobs.targets.target import RowFormat, optional_package

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Identifier

# Rows of one COPY, of one DELETE and of one page.
_GROUP_ROWS = 10_000
# Candidates that a search of the index examines; pgvector's default of 40 gives a lower recall, and it accepts at most
# 1,000.
_EF_SEARCH, _MAX_EF_SEARCH = 100, 1000
# How much of the server's memory building an index may use, in kilobytes.
_MIN_BUILD_KB, _MAX_BUILD_KB = 65_536, 1_048_576
_NODE_BYTES = 512


class PostgresqlTarget:
    """One table: chunk_id uuid as the primary key, typed columns, nested payload as jsonb, embedding vector(d).

    An export is one transaction. Until `finish` commits it, readers see the old rows, and a killed export leaves
    nothing behind. The ownership stamp is the table's comment. With `full` the rows are deleted, and the table keeps
    its grants and views; a new table replaces it only if its columns change. Rows of another space always get a new
    table, unless the old one has the same columns and views or the like, which it would take along.

    PostgreSQL's text has no NUL character: each arrives as U+FFFD, and `notes` gives the number of such rows.
    """

    def __init__(self, address: PostgresqlAddress) -> None:
        with optional_package("postgresql", "psycopg"):
            import psycopg  # the parts that need it import it themselves
        from psycopg import sql

        self._address = address
        # Where rows go until `finish`: the table, or the new one that will replace it.
        self._table: Identifier = sql.Identifier(address.schema, address.table)
        self._session: psycopg.Connection | None = None
        self._row_format: RowFormat | None = None
        self._columns: list[Column] = []
        self._prepared_table: PreparedTable | None = None
        self._rows_with_nul = 0
        self._lost: list[str] = []

    def stamp(self) -> object:
        """Reads the stamp from the table's comment; see `Target`."""
        connection = self._connection()
        with refusals(self._address):
            return read_stamp(connection, self._address)[1]

    def prepare(self, row_format: RowFormat, full: bool) -> bool:
        """Begins the transaction, and prepares the table; see `Target`."""
        self.close()
        self._columns = columns_of(plain_schema(row_format.rows), row_format.dimension)
        self._row_format, self._rows_with_nul, self._lost = row_format, 0, []
        connection = self._connection()
        with refusals(self._address):
            begin(connection, self._address)
            self._prepared_table = prepare_table(connection, self._address, row_format, self._columns, full)
        self._table = self._prepared_table.table
        return self._prepared_table.had_rows

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists chunk_id and run_id of every row, a page at a time by the primary key; see `Target`."""
        last: list[str] = []
        while True:
            with refusals(self._address):
                if self._row_format is None and not read_stamp(self._connection(), self._address)[0]:
                    return
                query = statements.page_held(self._table, not last)
                rows = self._connection().execute(query, [*last, _GROUP_ROWS]).fetchall()
            if not rows:
                return
            ids, runs = zip(*rows, strict=True)
            columns = [pa.array(ids, pa.string()), pa.array(runs, pa.string())]
            yield pa.RecordBatch.from_arrays(columns, names=["chunk_id", "run_id"])
            last = [ids[-1]]

    def send(self, rows: Iterable[pa.RecordBatch]) -> None:
        """Copies rows into a temporary table and upserts them from there, a few thousand at a time; see `Target`."""
        row_format, connection, _ = self._prepared()
        for batch in regroup(conform(rows, plain_schema(row_format.rows)), _GROUP_ROWS):
            values, rows_with_nul = values_of(batch, self._columns)
            self._rows_with_nul += rows_with_nul
            with refusals(self._address), connection.cursor() as cursor:
                cursor.execute(statements.empty_staged())
                with cursor.copy(statements.copy_staged(self._columns)) as copy:
                    copy.set_types([column.copy_type for column in self._columns])
                    for row in values:
                        copy.write_row(row)
                cursor.execute(statements.upsert_staged(self._table, self._columns))

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Deletes rows, a few thousand at a time; see `Target`."""
        _, connection, _ = self._prepared()
        for array in ids:
            # Refuses ids that are not UUIDs.
            as_keys(array)
            for start in range(0, len(array), _GROUP_ROWS):
                group = array.slice(start, _GROUP_ROWS).to_pylist()
                with refusals(self._address):
                    connection.execute(statements.delete_ids(self._table), [group])

    def finish(self) -> None:
        """Builds the index of a new table, and commits; see `Target`."""
        from psycopg import sql

        row_format, connection, prepared = self._prepared()
        with refusals(self._address):
            index = statements.create_index(self._table, row_format.dimension)
            if prepared.is_new and index is not None:
                self._allow_memory(connection, row_format.dimension)
                connection.execute(index)
            if prepared.replaces:
                self._lost = replace_table(connection, self._address, prepared)
                self._table = sql.Identifier(self._address.schema, self._address.table)
            connection.commit()
            # From here on each statement is its own transaction, which VACUUM requires.
            connection.autocommit = True
            tidy = statements.VACUUM if prepared.was_emptied else statements.ANALYZE
            connection.execute(statements.on_table(tidy, self._table))

    def count(self) -> int:
        """Counts the rows; see `Target`."""
        with refusals(self._address):
            found = self._connection().execute(statements.on_table(statements.COUNT, self._table)).fetchone()
        return int(found[0]) if found else 0

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches as an application would, but examines 100 candidates or more; see `Target`."""
        connection, hits = self._connection(), []
        statement = statements.nearest_ids(self._table, queries.shape[1])
        candidates = str(min(max(_EF_SEARCH, k), _MAX_EF_SEARCH))
        with refusals(self._address):
            connection.execute("SELECT pg_catalog.set_config('hnsw.ef_search', %s, false)", [candidates])
            for vector in queries:
                text = "[" + ",".join(map(repr, vector.astype(float).tolist())) + "]"
                hits.append([row[0] for row in connection.execute(statement, [text, k]).fetchall()])
        return hits

    def notes(self) -> list[str]:
        """Reports changed text, an unexpected or missing index, and lost grants; see `Target`."""
        notes = []
        if self._rows_with_nul:
            notes.append(
                f"{self._rows_with_nul:,} rows had NUL characters, which PostgreSQL cannot hold; each became U+FFFD"
            )
        dimension = self._row_format.dimension if self._row_format else 0
        if dimension > MAX_INDEXED_HALF:
            notes.append(f"pgvector has no index for more than {MAX_INDEXED_HALF:,} numbers; searches read every row")
        elif dimension > MAX_INDEXED:
            notes.append(
                f"above {MAX_INDEXED:,} numbers pgvector indexes half precision; search by "
                f"`embedding::halfvec({dimension}) <#> ...`"
            )
        prepared = self._prepared_table
        if prepared and prepared.replaces:
            lost = f"; these could not be kept: {', '.join(self._lost)}" if self._lost else ""
            notes.append(f"a new table with the same owner and grants replaced the old one{lost}")
        elif prepared and prepared.attached:
            notes.append(
                f"the table has {', '.join(prepared.attached)}, so it stayed and all its rows were replaced in it"
            )
        return notes

    def close(self) -> None:
        """Closes the connection, which rolls back what was not committed; see `Target`."""
        if self._session is not None:
            self._session.close()
        self._session = self._row_format = self._prepared_table = None

    def _connection(self) -> "psycopg.Connection":
        if self._session is None:
            self._session = connect(self._address)
        return self._session

    def _allow_memory(self, connection: "psycopg.Connection", dimension: int) -> None:
        """Lets the server build the index in memory, within limits."""
        needed = self.count() * (4 * dimension + _NODE_BYTES) // 1024
        kilobytes = min(max(needed, _MIN_BUILD_KB), _MAX_BUILD_KB)
        connection.execute("SELECT pg_catalog.set_config('maintenance_work_mem', %s, true)", [f"{kilobytes}kB"])

    def _prepared(self) -> "tuple[RowFormat, psycopg.Connection, PreparedTable]":
        session = self._session
        if self._row_format is None or session is None or self._prepared_table is None or session.autocommit:
            raise RuntimeError("call prepare before send, remove and finish")
        return self._row_format, session, self._prepared_table
