"""What PostgreSQL refuses, in words that hold no password and no document text."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schemas.errors import InputError
from spark_jobs.postgresql_place import PostgresqlPlace

if TYPE_CHECKING:
    import psycopg

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


@contextmanager
def refusals(place: PostgresqlPlace) -> Iterator[None]:
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


def statement_error(error: "psycopg.Error", place: PostgresqlPlace) -> InputError:
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


def connection_error(error: "psycopg.Error", place: PostgresqlPlace) -> InputError:
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
