"""The connection to a database: session limits, the lock of an export, pgvector, and explanations of errors."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schemas.errors import InputError, RunActiveError
from spark_jobs.targets.address import PostgresqlAddress
from spark_jobs.targets.postgresql.statements import FIND_EXTENSION, TRY_LOCK

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Identifier

_CONNECT_SECONDS = 10
# A server takes a moment to notice that an earlier export's client is gone, and to release its lock.
_LOCK_SECONDS = 2.0
_LOCK_PAUSE_SECONDS = 0.05
# How long a statement waits for another session's lock; the export's own work has no limit.
_LIMITS = {"lock_timeout": "60s", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
# How long a switch waits for a table's readers: for each try, in which new readers wait too, and in all.
_TRY_SECONDS, _SWITCH_SECONDS = 2, 600
# The first version with half-precision indexes.
_PGVECTOR = (0, 7)

# Remedies by SQLSTATE or its class. Messages of these classes name objects, never values.
_REMEDIES = {
    "53100": "Free up space on the server's disk",
    "53": "Wait until the server has resources for it",
    "42501": "Grant the user that right, or name a schema and table of its own",
    "2BP01": "Drop what depends on the table, or name another one",
    "55P03": "Wait until the lock on the table is released",
    "25006": "Name a server that accepts writes",
    "57": "See the server's log",
    "58": "See the server's log",
    "08": "Check that the server is up",
    "54": "See the server's limits",
    "0A": "See the server's version",
    "42": "Resolve this",
}


def connect(address: PostgresqlAddress) -> "psycopg.Connection":
    """Opens a connection, which begins a transaction with its first statement.

    User, password and TLS come from libpq's environment. Raises InputError if the server refuses or does not answer,
    or if the database's encoding is not UTF-8.
    """
    import psycopg

    try:
        connection = psycopg.connect(
            host=address.host,
            port=address.port,
            dbname=address.database,
            connect_timeout=_CONNECT_SECONDS,
            application_name="embedlake",
            client_encoding="utf8",
            # Prepared statements do not survive the connection poolers in front of many servers.
            prepare_threshold=None,
        )
    except psycopg.Error as error:
        raise _connection_error(error, address) from None
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise InputError(f"{address}: the database stores text as {encoding}. Name a database that stores it as UTF8.")
    return connection


def begin(connection: "psycopg.Connection", address: PostgresqlAddress) -> None:
    """Begins an export within the connection's transaction: sets limits, locks the table, and ensures pgvector.

    Raises RunActiveError if another export to this table is running, on any machine, and InputError if pgvector
    is not available or too old.
    """
    for name, value in _LIMITS.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])
    _lock(connection, address)
    schema = _extension(connection, address)
    # Statements qualify names with their schema, but not pgvector's operators, whatever schema they are in.
    path = "pg_catalog, " + '"' + schema.replace('"', '""') + '"'
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [path])


def _lock(connection: "psycopg.Connection", address: PostgresqlAddress) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while connection.execute(TRY_LOCK, [f"embedlake table {address.qualified_table}"]).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise RunActiveError(f"{address}: another export to this table is running. Wait for it to end.")
        time.sleep(_LOCK_PAUSE_SECONDS)


def lock_out_readers(connection: "psycopg.Connection", table: "Identifier") -> None:
    """Locks a table against readers until the transaction ends; tries for minutes, so a long query costs no export.

    Each try is short, because readers that come later wait behind it.
    """
    import psycopg
    from psycopg import sql

    set_limit, deadline = "SELECT pg_catalog.set_config('lock_timeout', %s, true)", time.monotonic() + _SWITCH_SECONDS
    while True:
        try:
            with connection.transaction():
                connection.execute(set_limit, [f"{_TRY_SECONDS}s"])
                connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
                connection.execute(set_limit, [_LIMITS["lock_timeout"]])
                return
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_TRY_SECONDS)


def _extension(connection: "psycopg.Connection", address: PostgresqlAddress) -> str:
    import psycopg

    found = connection.execute(FIND_EXTENSION).fetchone()
    if found is None:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.errors.InsufficientPrivilege as error:
            raise InputError(
                f"{address}: the database lacks pgvector, and this user may not add it. Have an administrator run "
                "`CREATE EXTENSION vector` in it."
            ) from error
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
            raise InputError(f"{address}: the server has no pgvector. Have it installed there.") from error
        found = connection.execute(FIND_EXTENSION).fetchone()
    assert found is not None, "the extension has just been created"
    schema, version = found
    if tuple(int(part) for part in version.split(".")[:2]) < _PGVECTOR:
        required = ".".join(map(str, _PGVECTOR))
        raise InputError(f"{address}: the database has pgvector {version}. Have it updated to {required} or newer.")
    return str(schema)


@contextmanager
def refusals(address: PostgresqlAddress) -> Iterator[None]:
    """Turns refused statements and lost connections into InputErrors."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate is None and not isinstance(error, psycopg.OperationalError):
            # psycopg itself refused, not the server: users cannot fix that.
            raise
        raise _statement_error(error, address) from None


def _statement_error(error: "psycopg.Error", address: PostgresqlAddress) -> InputError:
    """Builds the error for a statement that failed."""
    state = error.sqlstate
    if state is None:
        return InputError(
            f"{address}: the connection to the server was lost. See the server's log, then export again; no export is "
            "left half done."
        )
    remedy = _REMEDIES.get(state) or _REMEDIES.get(state[:2])
    if remedy is None or error.diag.message_primary is None:
        # Messages of other classes may hold values of rows.
        return InputError(
            f"{address}: the server refused a row or a statement (SQLSTATE {state}, {type(error).__name__}). "
            "See its log."
        )
    return InputError(f"{address}: the server reports `{error.diag.message_primary}`. {remedy}, then export again.")


def _connection_error(error: "psycopg.Error", address: PostgresqlAddress) -> InputError:
    """Builds the error for a connection that failed; libpq gives only a message, which has no password."""
    text = str(error)
    last_line = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), type(error).__name__)
    if "password" in text or "authentication" in text or "pg_hba.conf" in text:
        message = "the server denies this user access. Set PGUSER, and PGPASSWORD or PGPASSFILE."
    elif f'database "{address.database}" does not exist' in text:
        message = "the database does not exist. Create it, or name another."
    elif "role" in text and "does not exist" in text:
        message = "the server does not know this user. Set PGUSER."
    else:
        message = f"the server cannot be reached ({last_line}). Check host and port, and that it is up."
    return InputError(f"{address}: {message}")
