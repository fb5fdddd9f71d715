"""The table of an export: checked if it exists, and created, emptied or replaced as needed."""

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from spark_jobs.targets.address import PostgresqlAddress
from spark_jobs.targets.postgresql import statements
from spark_jobs.targets.postgresql.columns import Column
from spark_jobs.targets.postgresql.connection import lock_out_readers
from spark_jobs.targets.postgresql.rights import attachments, copy_rights, refuse_losses
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
        was_emptied: Whether all rows of the target's table were deleted, and new ones come in their place.
        attached: What somebody attached to the target's table, if all its rows are replaced: kinds of objects that
            stay if `was_emptied`, and are lost if `replaces`.
    """

    table: "Identifier"
    had_rows: bool
    is_new: bool
    replaces: bool
    was_emptied: bool
    attached: tuple[str, ...] = ()


def prepare_table(
    connection: "psycopg.Connection",
    address: PostgresqlAddress,
    row_format: RowFormat,
    columns: list[Column],
    full: bool,
) -> PreparedTable:
    """Checks the existing table, and creates what is missing, within the connection's transaction.

    Rows of another space get a new table, whose index holds no other vectors, unless the old table has the same columns
    and something that a new one would lose, such as a view. Then it keeps its place and all its rows are replaced.

    Raises InputError if the existing table is not this export's own (see `check_stamp`), if its columns were changed,
    or if it has to be replaced and cannot be.
    """
    from psycopg import sql

    table = sql.Identifier(address.schema, address.table)
    _create_schema(connection, address)
    exists, stamp = read_stamp(connection, address)
    is_switch = exists and check_stamp(stamp, row_format, full, f"{address}: the table") is not None
    fits = exists and same_format(stamp, row_format) and _has_columns(connection, address, columns)
    if exists and not fits and not full and not is_switch:
        raise InputError(
            f"{address}: the table's columns are not as embedlake created them. Change them back, or export with "
            "--full to replace all of it."
        )
    is_replaced = exists and (is_switch or not fits)
    attached = attachments(connection, address, {*stamp["columns"], "embedding"}) if is_replaced else []
    stays = fits and not (is_switch and not attached)
    if exists and not stays:
        refuse_losses(connection, address, attached)
        table = sql.Identifier(address.schema, f"embedlake_{uuid.uuid4().hex}")
    elif fits and (full or is_switch):
        # TRUNCATE would hide the rows from readers immediately.
        connection.execute(statements.on_table(statements.DELETE_ALL, table))
    if not stays:
        connection.execute(statements.create_table(table, columns))
    connection.execute(statements.comment_on(table, json.dumps(stamp_of(row_format), ensure_ascii=True)))
    connection.execute(statements.create_staged(table))
    return PreparedTable(
        table=table,
        had_rows=exists and same_owner(stamp, row_format),
        is_new=not stays,
        replaces=exists and not stays,
        was_emptied=stays and (full or is_switch),
        attached=tuple(attached),
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


def replace_table(connection: "psycopg.Connection", address: PostgresqlAddress, prepared: PreparedTable) -> list[str]:
    """Gives the new table the name, owner and grants of the target's table; returns what could not be kept."""
    from psycopg import sql

    lost = copy_rights(connection, address, prepared.table)
    lock_out_readers(connection, sql.Identifier(address.schema, address.table))
    connection.execute(statements.on_table(statements.DROP, sql.Identifier(address.schema, address.table)))
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(prepared.table, sql.Identifier(address.table)))
    return [*lost, *(f"its {kind}" for kind in prepared.attached)]


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
