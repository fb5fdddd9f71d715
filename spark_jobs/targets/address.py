"""What `--to` may say: the kinds of targets, and where each of them is."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, unquote_to_bytes

from schemas.errors import InputError

FORMS = (
    "parquet:FOLDER",
    "faiss:FOLDER",
    "usearch:FOLDER",
    "lancedb:FOLDER#TABLE",
    "postgresql://HOST[:PORT]/DATABASE#[SCHEMA.]TABLE",
    "qdrant:http://HOST:PORT#COLLECTION",
    "qdrant:FOLDER#COLLECTION",
)
_KINDS: Final = ("parquet", "faiss", "usearch", "lancedb", "qdrant")
_NAMED_KINDS: Final = ("lancedb", "qdrant")
# Both become names of folders, and Qdrant puts its own into paths of URLs.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_SERVER = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?")

FORM = "postgresql://HOST[:PORT]/DATABASE#[SCHEMA.]TABLE"
# PostgreSQL cuts longer identifiers without an error (NAMEDATALEN).
MOST_BYTES = 63
_POSTGRESQL_SERVER = re.compile(
    r"postgresql://(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]/:,?#@]*)(?::(?P<port>[0-9]{1,5}))?/(?P<database>[^/?#@]+)"
)
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
# A part without quotes is taken as it stands, capitals and spaces too; quotes are for dots, quotes and @.
_PART = re.compile(r'"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^".]+)')


@dataclass(frozen=True, slots=True)
class Address:
    """Where a target is, apart from PostgreSQL's.

    Attributes:
        kind: The kind of target.
        place: An absolute folder, or the URL of a Qdrant server.
        name: The table or collection there; empty for kinds that take the whole folder.
        is_server: Whether `place` is a URL.
    """

    kind: Literal["parquet", "faiss", "usearch", "lancedb", "qdrant"]
    place: str
    name: str = ""
    is_server: bool = False

    def __str__(self) -> str:
        """Renders the address in the form in which `--to` takes it."""
        return f"{self.kind}:{self.place}" + (f"#{self.name}" if self.name else "")


@dataclass(frozen=True, slots=True)
class PostgresqlAddress:
    """Where a table of PostgreSQL is.

    Attributes:
        host: Name, address or folder of sockets; None where libpq's environment says it.
        port: Port; None where libpq's environment says it.
        database: Name of the database.
        schema: Name of the schema, exactly.
        table: Name of the table, exactly.
    """

    host: str | None
    port: int | None
    database: str
    schema: str
    table: str

    def __str__(self) -> str:
        """Renders the place with what libpq's environment adds to it, and without user or password."""
        # Two servers are two targets, although `--to` says the same of both.
        host = self.host or os.environ.get("PGHOST") or ""
        port = self.port or os.environ.get("PGPORT") or ""
        server = (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
        return f"postgresql://{server}/{quote(self.database, safe='')}#{_part(self.schema)}.{_part(self.table)}"

    @property
    def shown(self) -> str:
        """Schema and table as a message names them."""
        return f"table {_part(self.schema)}.{_part(self.table)}"


def parse(text: str) -> Address | PostgresqlAddress:
    """Reads `--to`. Its text may hold a password by mistake, so no message repeats it before that is ruled out.

    Args:
        text: What was given.

    Returns:
        Where the target is.

    Raises:
        InputError: The text has none of the forms, or holds a user or a password.
    """
    # One line of print everywhere: in messages, in the store's record, on a terminal.
    if not text.isprintable():
        raise InputError("--to holds characters that cannot be printed: write the target without them")
    if text.startswith("postgresql://"):
        return parse_postgresql(text)
    kind, _, rest = text.partition(":")
    for known in _KINDS:
        if kind == known:
            place, _, name = rest.rpartition("#") if known in _NAMED_KINDS else (rest, "", "")
            if known in _NAMED_KINDS and not _NAME.fullmatch(name):
                raise InputError(
                    f"--to {known}: names no table or collection that it can hold: after the last # write 1 to 200 "
                    "ASCII letters, digits, dots, hyphens and underscores, the first of them no dot and no hyphen"
                )
            if known == "qdrant" and place.startswith(("http:", "https:")):
                return Address(known, _server(place), name, is_server=True)
            return Address(known, _folder(known, place), name)
    raise InputError(f"--to has none of the forms that are known: write one of {', '.join(FORMS)}")


def _server(place: str) -> str:
    if "@" in place or "?" in place:
        raise InputError(
            "--to qdrant: names a user, a password or a key: leave it out, and set QDRANT_API_KEY where the server "
            "asks for one"
        )
    found = _SERVER.fullmatch(place)
    if found is None or int(found[3]) > 65535:
        raise InputError("--to qdrant: has no server of the form http://HOST:PORT or https://HOST:PORT: write it so")
    return f"{found[1]}://{found[2].lower()}:{int(found[3])}"


def _folder(kind: str, place: str) -> str:
    if not place:
        raise InputError(f"--to {kind}: names no folder: write {kind}:FOLDER")
    if _URL.match(place):
        raise InputError(f"--to {kind}: names a URL, but files are written to folders of this machine: name a folder")
    try:
        # Links are resolved: one folder has one name in the store's record, whichever way it was given.
        return str(Path(place).expanduser().resolve())
    except (OSError, RuntimeError) as error:
        raise InputError(f"--to {kind}: the folder {place} cannot be found: name an absolute path") from error


def _part(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set('".@') or not name else name


def identifier_fault(name: str) -> str | None:
    """Says why PostgreSQL cannot hold a name exactly.

    Args:
        name: Name of a schema, table or column.

    Returns:
        The reason, to follow the name in a sentence; None where it can.

    Example:
        >>> identifier_fault("x" * 64)
        'is longer than the 63 bytes that PostgreSQL keeps'
    """
    if not name:
        return "is empty"
    if "\0" in name:
        return "has a NUL character"
    if len(name.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        return f"is longer than the {MOST_BYTES} bytes that PostgreSQL keeps"
    return None


def parse_postgresql(text: str) -> PostgresqlAddress:
    """Reads a target of the form `postgresql://HOST[:PORT]/DATABASE#[SCHEMA.]TABLE`.

    The host may be left out, for libpq's environment to say. Host and database may be percent-encoded; what follows
    `#` is taken as it stands, with SQL's quotes around a part that has dots, quotes or `@`. The schema is `public`
    where none is named.

    Args:
        text: What was given; begins with `postgresql://`. It may hold a password, so no message repeats it.

    Returns:
        The place.

    Raises:
        InputError: It has another form, names a user or a password, or a name that PostgreSQL would cut.
    """
    server, hash_mark, name = text.partition("#")
    # A password may hold a # of its own: a bare @ behind it is taken for the end of one, not for part of a name.
    if "@" in server + _QUOTED.sub("", name) or "?" in server:
        raise InputError(
            "--to postgresql: names a user, a password or options: leave them out, and set PGUSER, PGPASSWORD or "
            "PGPASSFILE, and PGSSLMODE and the like, in the environment"
        )
    found = _POSTGRESQL_SERVER.fullmatch(server)
    if found is None or not hash_mark or int(found["port"] or 1) not in range(1, 65536):
        raise InputError(f"--to postgresql: has another form than {FORM}: write it so")
    try:
        host, database = (unquote_to_bytes(found[key]).decode() for key in ("host", "database"))
    except UnicodeDecodeError as error:
        raise InputError("--to postgresql: its percent-encoding is no UTF-8: mend host and database") from error
    port = int(found["port"]) if found["port"] else None
    schema, table = _names(name)
    faults = [
        f"--to postgresql: the name of the {what} {fault}: give it another"
        for what, value in (("database", database), ("schema", schema), ("table", table))
        if (fault := identifier_fault(value))
    ]
    if faults:
        raise InputError(faults)
    return PostgresqlAddress(host.strip("[]") or None, port, database, schema, table)


def _names(text: str) -> tuple[str, str]:
    parts, at = [], 0
    while found := _PART.match(text, at):
        quoted = found["quoted"]
        parts.append(found["plain"] if quoted is None else quoted.replace('""', '"'))
        at = found.end()
        if text[at : at + 1] != ".":
            break
        at += 1
    if at != len(text) or text.endswith(".") or len(parts) not in (1, 2):
        raise InputError(
            "--to postgresql: after the # stands no table: write TABLE or SCHEMA.TABLE, with a part that has dots, "
            'quotes or @ in double quotes, such as public."my.table"'
        )
    schema, table = parts if len(parts) == 2 else ("public", parts[0])
    return schema, table
