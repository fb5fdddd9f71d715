"""The table of an export: what is in its place, and what has to be made, emptied or replaced."""

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from spark_jobs.targets.address import PostgresqlAddress
from spark_jobs.targets.postgresql import statements
from spark_jobs.targets.postgresql.columns import Column
from spark_jobs.targets.stamp import check_stamp, same_format, same_owner, stamp_of
from spark_jobs.targets.target import RowFormat

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Identifier


@dataclass(frozen=True, slots=True)
class PreparedTable:
    """A table that rows can go into.

    Attributes:
        table: Its name: the target's own, or another one's that is to take its place.
        was_there: Whether this owner's rows were there already.
        is_new: Whether it was made now, hence has no index.
        replaces: Whether it is to take the place of another one.
        was_emptied: Whether rows were deleted from it to begin from nothing.
    """

    table: "Identifier"
    was_there: bool
    is_new: bool
    replaces: bool
    was_emptied: bool


def make_ready(
    connection: "psycopg.Connection", place: PostgresqlAddress, shape: RowFormat, columns: list[Column], full: bool
) -> PreparedTable:
    """Looks at what is in the table's place, and makes what is missing, within the transaction.

    Args:
        connection: The connection.
        place: The table.
        shape: What the rows look like, and whose they are.
        columns: The columns that are wanted.
        full: Whether to begin from nothing.

    Returns:
        The table that rows go into.

    Raises:
        InputError: Something else is there.
    """
    from psycopg import sql

    table = sql.Identifier(place.schema, place.table)
    _make_schema(connection, place)
    is_there, found = found_stamp(connection, place)
    if is_there:
        check_stamp(found, shape, full, f"{place}: the table")
    fits = is_there and same_format(found, shape) and _has_columns(connection, place, columns)
    if is_there and not fits and not full:
        raise InputError(
            f"{place}: the table's columns are not as embedlake made them: change them back, or export with --full to "
            "replace all of it"
        )
    if fits and full:
        # Not TRUNCATE, which would hide the rows at once from whoever reads them.
        connection.execute(statements.on_table(statements.DELETE_ALL, table))
    if is_there and not fits:
        _try_to_drop(connection, table)
        table = sql.Identifier(place.schema, f"embedlake_{uuid.uuid4().hex}")
    if not fits:
        connection.execute(statements.create_table(table, columns))
    connection.execute(statements.comment_on(table, json.dumps(stamp_of(shape), ensure_ascii=True)))
    connection.execute(statements.create_staged(table))
    return PreparedTable(table, is_there and same_owner(found, shape), not fits, is_there and not fits, fits and full)


def _make_schema(connection: "psycopg.Connection", place: PostgresqlAddress) -> None:
    from psycopg import sql

    # Looked for first: IF NOT EXISTS asks for a right that most users do not have, even where the schema exists.
    if connection.execute(statements.FIND_SCHEMA, [place.schema]).fetchone() is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(place.schema)))


def found_stamp(connection: "psycopg.Connection", place: PostgresqlAddress) -> tuple[bool, Any]:
    """Looks at what is in the table's place.

    Args:
        connection: The connection.
        place: The table.

    Returns:
        Whether a table is there, and the mark in its comment, or anything else where that is none.

    Raises:
        InputError: Something else than a table is there.
    """
    found = connection.execute(statements.FIND_TABLE, [place.schema, place.table]).fetchone()
    if found is None:
        return False, None
    kind, comment = found
    if kind != "r":
        raise InputError(f"{place}: something else than a plain table has this name: name another target")
    try:
        return True, json.loads(comment or "")
    except ValueError:
        return True, None


def _has_columns(connection: "psycopg.Connection", place: PostgresqlAddress, columns: list[Column]) -> bool:
    # Columns of somebody's own beside them do no harm.
    there: dict[str, str] = dict(connection.execute(statements.FIND_COLUMNS, [place.schema, place.table]).fetchall())
    return all(there.get(column.name) == column.full_type for column in columns)


def _try_to_drop(connection: "psycopg.Connection", table: "Identifier") -> None:
    """Finds out before any row is sent whether the table can be replaced: nothing may depend on it."""
    with connection.transaction(force_rollback=True):
        connection.execute(statements.on_table(statements.DROP, table))


def put_in_place(connection: "psycopg.Connection", place: PostgresqlAddress, ready: PreparedTable) -> "Identifier":
    """Has a new table take the place of the one that it replaces.

    Args:
        connection: The connection.
        place: The table.
        ready: The table that rows went into.

    Returns:
        The table's name from now on.
    """
    from psycopg import sql

    table = sql.Identifier(place.schema, place.table)
    if ready.replaces:
        connection.execute(statements.on_table(statements.DROP, table))
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(ready.table, sql.Identifier(place.table)))
    return table
