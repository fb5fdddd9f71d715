"""What a new table takes over from the one that it replaces, owner and grants, and what it would lose."""

from typing import TYPE_CHECKING

from schemas.errors import InputError
from spark_jobs.targets.address import PostgresqlAddress
from spark_jobs.targets.postgresql import statements

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import SQL, Composed, Identifier

_ROW_SECURITY, _VIEWS = "row-level security", "views"
# Keywords of GRANT. Rights of later servers are reported as lost.
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")


def attachments(connection: "psycopg.Connection", address: PostgresqlAddress, columns: set[str]) -> list[str]:
    """Names what a new table would lose: kinds of objects that somebody attached to the table.

    Args:
        connection: The connection.
        address: The table.
        columns: The columns that embedlake created.

    Returns:
        The kinds, such as `indexes`, each once.
    """
    import psycopg

    name = [address.schema, address.table]
    kinds = [kind for (kind,) in connection.execute(statements.FIND_ATTACHED, name).fetchall()]
    found = connection.execute(statements.FIND_COLUMNS, name).fetchall()
    if {column for column, _ in found} - columns:
        kinds.append("additional columns")
    try:
        _try_to_drop(connection, address)
    except psycopg.errors.DependentObjectsStillExist:
        kinds.append(_VIEWS)
    return sorted(set(kinds))


def _try_to_drop(connection: "psycopg.Connection", address: PostgresqlAddress) -> None:
    """Drops the table and takes it back; raises psycopg's error if something depends on the table."""
    from psycopg import sql

    with connection.transaction(force_rollback=True):
        connection.execute(statements.on_table(statements.DROP, sql.Identifier(address.schema, address.table)))


def refuse_losses(connection: "psycopg.Connection", address: PostgresqlAddress, attached: list[str]) -> None:
    """Refuses to replace a table that views depend on, or one that hides rows from some readers: a new one shows all.

    Args:
        connection: The connection.
        address: The table.
        attached: Result of `attachments`.

    Raises:
        InputError: The table has row-level security.
        DependentObjectsStillExist: Something depends on the table; psycopg's error names it.
    """
    if _ROW_SECURITY in attached:
        raise InputError(
            f"{address}: the table has row-level security, which a new table would not have, and its columns have to "
            "change. Disable it and drop its policies, or name another target."
        )
    if _VIEWS in attached:
        _try_to_drop(connection, address)


def copy_rights(connection: "psycopg.Connection", address: PostgresqlAddress, new: "Identifier") -> list[str]:
    """Gives a new table the owner and the grants of the target's table.

    Args:
        connection: The connection.
        address: The target's table.
        new: The new table.

    Returns:
        What could not be copied, in words; empty if everything could.
    """
    import psycopg
    from psycopg import sql

    name, lost = [address.schema, address.table], []
    for (owner,) in connection.execute(statements.FIND_OTHER_OWNER, name).fetchall():
        try:
            with connection.transaction():
                connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(new, sql.Identifier(owner)))
        except psycopg.errors.InsufficientPrivilege:
            lost.append("its owner")
    # Default privileges of the schema may have given the new table more than the old one has.
    for (grantee,) in connection.execute(statements.FIND_GRANTEES, [new.as_string(connection)]).fetchall():
        connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(new, _role(grantee)))
    columns = {column for column, _ in connection.execute(statements.FIND_COLUMNS_OF, [new.as_string(connection)])}
    for right, grantee, may_grant, column in connection.execute(statements.FIND_RIGHTS, name).fetchall():
        if right not in _RIGHTS or (column is not None and column not in columns):
            lost.append(f"{right} for {'everybody' if grantee is None else grantee}")
            continue
        connection.execute(_grant(right, new, grantee, may_grant, column))
    return lost


def _grant(right: str, table: "Identifier", grantee: str | None, may_grant: bool, column: str | None) -> "Composed":
    from psycopg import sql

    on_column = sql.SQL("") if column is None else sql.SQL(" ({})").format(sql.Identifier(column))
    option = sql.SQL(" WITH GRANT OPTION" if may_grant else "")
    # One of _RIGHTS.
    keyword = sql.SQL(_RIGHTS[_RIGHTS.index(right)])
    return sql.SQL("GRANT {}{} ON {} TO {}{}").format(keyword, on_column, table, _role(grantee), option)


def _role(name: str | None) -> "Identifier | SQL":
    from psycopg import sql

    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)
