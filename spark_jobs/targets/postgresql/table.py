"""The table of an export: checked if it exists, and created, emptied or replaced as needed."""

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
    """A table that is ready for rows.

    Attributes:
        table: Its name: the target's own, or that of a new table that will replace it.
        had_rows: Whether the target already contained rows of this owner.
        is_new: Whether it has just been created, and has no index.
        replaces: Whether it will replace the target's table.
        was_emptied: Whether all its rows were deleted for a full export.
    """

    table: "Identifier"
    had_rows: bool
    is_new: bool
    replaces: bool
    was_emptied: bool


def prepare_table(
    connection: "psycopg.Connection",
    address: PostgresqlAddress,
    row_format: RowFormat,
    columns: list[Column],
    full: bool,
) -> PreparedTable:
    """Checks the existing table, and creates what is missing, within the connection's transaction.

    Raises InputError if the existing table is not this export's own (see `check_stamp`) or its columns were changed.
    """
    from psycopg import sql

    table = sql.Identifier(address.schema, address.table)
    _create_schema(connection, address)
    exists, stamp = read_stamp(connection, address)
    if exists:
        check_stamp(stamp, row_format, full, f"{address}: the table")
    fits = exists and same_format(stamp, row_format) and _has_columns(connection, address, columns)
    if exists and not fits and not full:
        raise InputError(
            f"{address}: the table's columns are not as embedlake created them. Change them back, or export with "
            "--full to replace all of it."
        )
    if fits and full:
        # TRUNCATE would hide the rows from readers immediately.
        connection.execute(statements.on_table(statements.DELETE_ALL, table))
    if exists and not fits:
        _try_to_drop(connection, table)
        table = sql.Identifier(address.schema, f"embedlake_{uuid.uuid4().hex}")
    if not fits:
        connection.execute(statements.create_table(table, columns))
    connection.execute(statements.comment_on(table, json.dumps(stamp_of(row_format), ensure_ascii=True)))
    connection.execute(statements.create_staged(table))
    return PreparedTable(
        table=table,
        had_rows=exists and same_owner(stamp, row_format),
        is_new=not fits,
        replaces=exists and not fits,
        was_emptied=fits and full,
    )


def read_stamp(connection: "psycopg.Connection", address: PostgresqlAddress) -> tuple[bool, Any]:
    """Returns whether the table exists, and its ownership stamp, which may be anything if embedlake did not create it.

    Raises InputError if the name belongs to something other than a plain table.
    """
    found = connection.execute(statements.FIND_TABLE, [address.schema, address.table]).fetchone()
    if found is None:
        return False, None
    kind, comment = found
    if kind != "r":
        raise InputError(f"{address}: something other than a plain table has this name. Name another target.")
    try:
        return True, json.loads(comment or "")
    except ValueError:
        return True, None


def replace_table(
    connection: "psycopg.Connection", address: PostgresqlAddress, prepared: PreparedTable
) -> "Identifier":
    """Replaces the target's table with the new one, if necessary; returns the table's name from now on."""
    from psycopg import sql

    table = sql.Identifier(address.schema, address.table)
    if prepared.replaces:
        connection.execute(statements.on_table(statements.DROP, table))
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(prepared.table, sql.Identifier(address.table)))
    return table


def _create_schema(connection: "psycopg.Connection", address: PostgresqlAddress) -> None:
    from psycopg import sql

    # Checked first: IF NOT EXISTS requires a right that most users do not have, even if the schema exists.
    if connection.execute(statements.FIND_SCHEMA, [address.schema]).fetchone() is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(address.schema)))


def _has_columns(connection: "psycopg.Connection", address: PostgresqlAddress, columns: list[Column]) -> bool:
    # Additional columns do no harm.
    existing: dict[str, str] = dict(
        connection.execute(statements.FIND_COLUMNS, [address.schema, address.table]).fetchall()
    )
    return all(existing.get(column.name) == column.full_type for column in columns)


def _try_to_drop(connection: "psycopg.Connection", table: "Identifier") -> None:
    """Raises before any row is sent if the table cannot be replaced because something depends on it."""
    with connection.transaction(force_rollback=True):
        connection.execute(statements.on_table(statements.DROP, table))
