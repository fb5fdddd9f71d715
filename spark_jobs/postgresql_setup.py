"""The way to a table of PostgreSQL: connection, extension, schema, and what is in the table's place."""

import json
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError, RunActiveError
from spark_jobs.postgresql_columns import Column
from spark_jobs.postgresql_place import PostgresqlPlace
from spark_jobs.postgresql_statements import FIND_COLUMNS, FIND_EXTENSION, FIND_SCHEMA, FIND_TABLE, TRY_LOCK

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 10
# How long a statement waits for somebody else's lock; the export's own work may take as long as it takes.
_LIMITS = {"lock_timeout": "60s", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
# From here on an index in half precision can be made.
_PGVECTOR = (0, 7)


def require_psycopg() -> None:
    """Makes sure that psycopg is there.

    Raises:
        InputError: It is not.
    """
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise InputError("the target postgresql needs psycopg: pip install 'embedlake[postgresql]'") from error


def connected(place: PostgresqlPlace) -> "psycopg.Connection":
    """Opens a connection, with user, password and TLS from libpq's environment.

    Args:
        place: The table.

    Returns:
        The connection, which begins a transaction with its first statement.

    Raises:
        InputError: There is none to be had.
    """
    import psycopg

    from spark_jobs.postgresql_errors import connection_error

    try:
        connection = psycopg.connect(
            host=place.host,
            port=place.port,
            dbname=place.database,
            connect_timeout=_CONNECT_SECONDS,
            application_name="embedlake",
            client_encoding="utf8",
        )
    except psycopg.Error as error:
        raise connection_error(error, place) from None
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise InputError(f"{place}: the database keeps text as {encoding}: name one that keeps it as UTF8")
    return connection


def begin(connection: "psycopg.Connection", place: PostgresqlPlace) -> None:
    """Begins an export: sets limits, makes sure that no other one is at work, and that there is pgvector.

    Args:
        connection: The connection; everything goes into its transaction.
        place: The table.

    Raises:
        RunActiveError: Another export to this table is at work, wherever it runs.
        InputError: pgvector cannot be had, or is too old.
    """
    for name, value in _LIMITS.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])
    lock = connection.execute(TRY_LOCK, [f"embedlake {place.schema}\0{place.table}".replace("\0", " . ")]).fetchone()
    if lock is None or not lock[0]:
        raise RunActiveError(f"{place}: another export to this table is at work: wait for it to end")
    schema = _extension(connection, place)
    # Names of ours are written with their schema; the operators of pgvector, wherever it is, are found without.
    path = "pg_catalog, " + '"' + schema.replace('"', '""') + '"'
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [path])


def _extension(connection: "psycopg.Connection", place: PostgresqlPlace) -> str:
    import psycopg

    found = connection.execute(FIND_EXTENSION).fetchone()
    if found is None:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.errors.InsufficientPrivilege as error:
            raise InputError(
                f"{place}: the database lacks pgvector, and this user may not add it: have an administrator run "
                "`CREATE EXTENSION vector` in it"
            ) from error
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
            raise InputError(f"{place}: the server has no pgvector: have it installed there") from error
        found = connection.execute(FIND_EXTENSION).fetchone()
    assert found is not None, "an extension that was made is there"
    schema, version = found
    if tuple(int(part) for part in version.split(".")[:2]) < _PGVECTOR:
        wanted = ".".join(map(str, _PGVECTOR))
        raise InputError(f"{place}: the database has pgvector {version}: have it updated to {wanted} or newer")
    return str(schema)


def make_schema(connection: "psycopg.Connection", place: PostgresqlPlace) -> None:
    """Makes the schema where it is missing.

    Args:
        connection: The connection.
        place: The table.
    """
    from psycopg import sql

    # Looked for first: IF NOT EXISTS asks for a right that most users do not have, even where the schema exists.
    if connection.execute(FIND_SCHEMA, [place.schema]).fetchone() is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(place.schema)))


def found_mark(connection: "psycopg.Connection", place: PostgresqlPlace) -> tuple[bool, Any]:
    """Looks at what is in the table's place.

    Args:
        connection: The connection.
        place: The table.

    Returns:
        Whether something is there, and the mark in its comment, or anything else where that is none.

    Raises:
        InputError: Something else than a table is there.
    """
    found = connection.execute(FIND_TABLE, [place.schema, place.table]).fetchone()
    if found is None:
        return False, None
    kind, comment = found
    if kind != "r":
        raise InputError(f"{place}: something else than a plain table has this name: name another target")
    try:
        return True, json.loads(comment or "")
    except ValueError:
        return True, None


def check_columns(connection: "psycopg.Connection", place: PostgresqlPlace, columns: list[Column]) -> bool:
    """Compares the table's columns, which somebody may have changed, with those that are wanted.

    Args:
        connection: The connection.
        place: The table.
        columns: The columns that are wanted.

    Returns:
        Whether each of them is there with its type; others may be there too.
    """
    there = dict(connection.execute(FIND_COLUMNS, [place.schema, place.table]).fetchall())
    return all(there.get(column.name) == column.full_type for column in columns)
