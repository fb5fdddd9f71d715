"""The way to a database: connection, limits of the session, one export at a time, and pgvector."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schemas.errors import InputError, RunActiveError
from spark_jobs.targets.address import PostgresqlAddress
from spark_jobs.targets.postgresql.statements import FIND_EXTENSION, TRY_LOCK

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 10
# A server takes a moment to notice that the client of an export before is gone, and its lock with it.
_LOCK_SECONDS = 2.0
_LOCK_PAUSE_SECONDS = 0.05
# How long a statement waits for somebody else's lock; the export's own work may take as long as it takes.
_LIMITS = {"lock_timeout": "60s", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
# From here on an index in half precision can be made.
_PGVECTOR = (0, 7)

# By SQLSTATE or its class, what to do. Messages of these classes name objects and never values.
_ADVICE = {
    "53100": "make room on the server's disk",
    "53": "wait until the server has room for it",
    "42501": "grant the user that right, or name a schema and table of its own",
    "2BP01": "drop what depends on the table, or name another one",
    "55P03": "wait until whoever holds the table is done",
    "25006": "name a server that takes writes",
    "57": "see the server's log",
    "58": "see the server's log",
    "08": "check that the server is up",
    "54": "see the server's limits",
    "0A": "see the server's version",
    "42": "see what the server says",
}


def require_psycopg() -> None:
    """Makes sure that psycopg is there.

    Raises:
        InputError: It is not.
    """
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise InputError("the target postgresql needs psycopg: pip install 'embedlake[postgresql]'") from error


def connected(place: PostgresqlAddress) -> "psycopg.Connection":
    """Opens a connection, with user, password and TLS from libpq's environment.

    Args:
        place: The table.

    Returns:
        The connection, which begins a transaction with its first statement.

    Raises:
        InputError: There is none to be had.
    """
    import psycopg

    try:
        connection = psycopg.connect(
            host=place.host,
            port=place.port,
            dbname=place.database,
            connect_timeout=_CONNECT_SECONDS,
            application_name="embedlake",
            client_encoding="utf8",
            # Statements that the server keeps do not survive the poolers that many servers stand behind.
            prepare_threshold=None,
        )
    except psycopg.Error as error:
        raise connection_error(error, place) from None
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise InputError(f"{place}: the database keeps text as {encoding}: name one that keeps it as UTF8")
    return connection


def begin(connection: "psycopg.Connection", place: PostgresqlAddress) -> None:
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
    _lock(connection, place)
    schema = _extension(connection, place)
    # Names of ours are written with their schema; the operators of pgvector, wherever it is, are found without.
    path = "pg_catalog, " + '"' + schema.replace('"', '""') + '"'
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [path])


def _lock(connection: "psycopg.Connection", place: PostgresqlAddress) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while connection.execute(TRY_LOCK, [f"embedlake {place.shown}"]).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise RunActiveError(f"{place}: another export to this table is at work: wait for it to end")
        time.sleep(_LOCK_PAUSE_SECONDS)


def _extension(connection: "psycopg.Connection", place: PostgresqlAddress) -> str:
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


@contextmanager
def refusals(place: PostgresqlAddress) -> Iterator[None]:
    """Says in words what the server refuses.

    Args:
        place: The table.

    Raises:
        InputError: The server refused a statement, or went away.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate is None and not isinstance(error, psycopg.OperationalError):
            # Refused by psycopg, not by the server: nothing that a user could mend.
            raise
        raise statement_error(error, place) from None


def statement_error(error: "psycopg.Error", place: PostgresqlAddress) -> InputError:
    """Explains why a statement failed.

    Args:
        error: What psycopg raised.
        place: The table.

    Returns:
        The error, to be raised.
    """
    state = error.sqlstate
    if state is None:
        return InputError(
            f"{place}: the connection to the server was lost: see the server's log, then export again; an export is "
            "there as a whole or not at all"
        )
    advice = _ADVICE.get(state) or _ADVICE.get(state[:2])
    if advice is None or error.diag.message_primary is None:
        # Messages of other classes may hold values of rows.
        return InputError(
            f"{place}: the server refused a row or a statement (SQLSTATE {state}, {type(error).__name__}): see its log"
        )
    return InputError(f"{place}: the server says `{error.diag.message_primary}`: {advice}, then export again")


def connection_error(error: "psycopg.Error", place: PostgresqlAddress) -> InputError:
    """Explains why there is no connection.

    Args:
        error: What psycopg raised. libpq gives a message only, without SQLSTATE; it never holds the password.
        place: The table.

    Returns:
        The error, to be raised.
    """
    text = str(error)
    said = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), type(error).__name__)
    if "password" in text or "authentication" in text or "pg_hba.conf" in text:
        what = "the server does not let this user in", "set PGUSER, and PGPASSWORD or PGPASSFILE"
    elif f'database "{place.database}" does not exist' in text:
        what = "there is no such database", "create it, or name another"
    elif "role" in text and "does not exist" in text:
        what = "the server does not know this user", "set PGUSER"
    else:
        what = f"the server cannot be reached ({said})", "check host and port, and that it is up"
    return InputError(f"{place}: {what[0]}: {what[1]}")
