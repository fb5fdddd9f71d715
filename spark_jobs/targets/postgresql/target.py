"""A table of PostgreSQL with pgvector."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.targets.address import PostgresqlAddress
from spark_jobs.targets.postgresql import statements
from spark_jobs.targets.postgresql.columns import MOST_INDEXED, MOST_INDEXED_HALF, Column, columns_of, values_of
from spark_jobs.targets.postgresql.connection import begin, connected, require_psycopg
from spark_jobs.targets.postgresql.statements import create_index, nearest_ids
from spark_jobs.targets.postgresql.table import PreparedTable, found_stamp, make_ready, put_in_place
from spark_jobs.targets.rows import as_keys, conformed, in_groups, plain_schema
from spark_jobs.targets.target import RowFormat

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Identifier

# Rows of one COPY, of one DELETE and of one page that is read.
_GROUP_ROWS = 10_000
# Candidates that a search of the index looks at; pgvector's own 40 finds fewer, and more than 1,000 it does not take.
_EF_SEARCH, _MOST_EF_SEARCH = 100, 1000
# What building an index may use of the server's memory, in kilobytes.
_LEAST_BUILD_KB, _MOST_BUILD_KB = 65_536, 1_048_576
_NODE_BYTES = 512


class PostgresqlTarget:
    """One table: chunk_id uuid as the primary key, typed columns, payload that is nested as jsonb, embedding vector(d).

    All of an export is one transaction. Until `finish` commits it, readers see the rows as they were, and an export
    that is killed leaves nothing behind. Whose rows they are stands in the table's comment. With `full` the table keeps
    its grants and views, and its rows go; only where its columns change another table takes its place.

    PostgreSQL's text has no NUL character: each arrives as U+FFFD, and `notes` says in how many rows.

    Args:
        place: The table.

    Raises:
        InputError: psycopg is not installed.
    """

    def __init__(self, place: PostgresqlAddress) -> None:
        require_psycopg()
        from psycopg import sql

        self._place = place
        # Where rows go until `finish`: the table, or the one that is to take its place.
        self._table: Identifier = sql.Identifier(place.schema, place.table)
        self._open: psycopg.Connection | None = None
        self._shape: RowFormat | None = None
        self._columns: list[Column] = []
        self._ready: PreparedTable | None = None
        self._cleaned = 0

    def prepare(self, shape: RowFormat, full: bool) -> bool:
        """Begins the transaction, and makes the table ready; see `Target`."""
        self.close()
        self._columns = columns_of(plain_schema(shape.rows), shape.dimension)
        self._shape, self._cleaned = shape, 0
        connection = self._connection()
        with self._refusals():
            begin(connection, self._place)
            self._ready = make_ready(connection, self._place, shape, self._columns, full)
        self._table = self._ready.table
        return self._ready.was_there

    def held(self) -> Iterator[pa.RecordBatch]:
        """Lists chunk_id and run_id of every row, a page at a time by the primary key; see `Target`."""
        last: list[str] = []
        while True:
            with self._refusals():
                if self._shape is None and not found_stamp(self._connection(), self._place)[0]:
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
        """Copies rows into a temporary table and upserts them from there, some thousands at a time; see `Target`."""
        shape, connection, _ = self._prepared()
        for batch in in_groups(conformed(rows, plain_schema(shape.rows)), _GROUP_ROWS):
            values, cleaned = values_of(batch, self._columns)
            self._cleaned += cleaned
            with self._refusals(), connection.cursor() as cursor:
                cursor.execute(statements.empty_staged())
                with cursor.copy(statements.copy_staged(self._columns)) as copy:
                    copy.set_types([column.copied for column in self._columns])
                    for row in values:
                        copy.write_row(row)
                cursor.execute(statements.upsert_staged(self._table, self._columns))

    def remove(self, ids: Iterable["pa.Array[Any]"]) -> None:
        """Deletes rows, some thousands at a time; see `Target`."""
        _, connection, _ = self._prepared()
        for part in ids:
            as_keys(part)
            for start in range(0, len(part), _GROUP_ROWS):
                some = part.slice(start, _GROUP_ROWS).to_pylist()
                with self._refusals():
                    connection.execute(statements.delete_ids(self._table), [some])

    def finish(self) -> None:
        """Builds the index of a new table, and commits; see `Target`."""
        shape, connection, ready = self._prepared()
        with self._refusals():
            index = create_index(self._table, shape.dimension)
            if ready.is_new and index is not None:
                self._grant_memory(connection, shape.dimension)
                connection.execute(index)
            self._table = put_in_place(connection, self._place, ready)
            connection.commit()
            # From here on each statement is a transaction of its own, which VACUUM needs.
            connection.autocommit = True
            tidy = statements.VACUUM if ready.was_emptied else statements.ANALYZE
            connection.execute(statements.on_table(tidy, self._table))

    def _grant_memory(self, connection: "psycopg.Connection", dimension: int) -> None:
        wanted = self.count() * (4 * dimension + _NODE_BYTES) // 1024
        kilobytes = min(max(wanted, _LEAST_BUILD_KB), _MOST_BUILD_KB)
        connection.execute("SELECT pg_catalog.set_config('maintenance_work_mem', %s, true)", [f"{kilobytes}kB"])

    def count(self) -> int:
        """Counts the rows; see `Target`."""
        with self._refusals():
            found = self._connection().execute(statements.on_table(statements.COUNT, self._table)).fetchone()
        return int(found[0]) if found else 0

    def nearest(self, asked: NDArray[np.float32], k: int) -> list[list[str]]:
        """Searches as an application would, but for the candidates looked at: 100 or more; see `Target`."""
        connection, hits = self._connection(), []
        query = nearest_ids(self._table, asked.shape[1])
        effort = str(min(max(_EF_SEARCH, k), _MOST_EF_SEARCH))
        with self._refusals():
            connection.execute("SELECT pg_catalog.set_config('hnsw.ef_search', %s, false)", [effort])
            for vector in asked:
                text = "[" + ",".join(map(repr, vector.astype(float).tolist())) + "]"
                hits.append([row[0] for row in connection.execute(query, [text, k]).fetchall()])
        return hits

    def notes(self) -> list[str]:
        """Says where text was changed, where the index is not what one expects, what to grant again; see `Target`."""
        notes = []
        if self._cleaned:
            notes.append(
                f"{self._cleaned:,} rows held NUL characters, which PostgreSQL cannot hold: each became U+FFFD"
            )
        dimension = self._shape.dimension if self._shape else 0
        if dimension > MOST_INDEXED_HALF:
            notes.append(f"pgvector has no index for more than {MOST_INDEXED_HALF:,} numbers: searches read every row")
        elif dimension > MOST_INDEXED:
            notes.append(
                f"above {MOST_INDEXED:,} numbers pgvector indexes half precision: search by "
                f"`embedding::halfvec({dimension}) <#> ...`"
            )
        if self._ready and self._ready.replaces:
            notes.append("the columns changed, so a new table took the old one's place: grant its readers their rights")
        return notes

    def close(self) -> None:
        """Ends the connection; what was not committed is gone; see `Target`."""
        if self._open is not None:
            self._open.close()
        self._open = self._shape = self._ready = None

    def _connection(self) -> "psycopg.Connection":
        if self._open is None:
            self._open = connected(self._place)
        return self._open

    def _refusals(self) -> AbstractContextManager[None]:
        from spark_jobs.targets.postgresql.connection import refusals

        return refusals(self._place)

    def _prepared(self) -> "tuple[RowFormat, psycopg.Connection, PreparedTable]":
        if self._shape is None or self._open is None or self._ready is None or self._open.autocommit:
            raise RuntimeError("prepare comes before send, remove and finish")
        return self._shape, self._open, self._ready
