"""The forms of `--to`, and the addresses of targets that they stand for."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, unquote_to_bytes

from schemas.errors import InputError

_POSTGRESQL_FORM = "postgresql://HOST[:PORT]/DATABASE#[SCHEMA.]TABLE"
FORMS = (
    "parquet:FOLDER",
    "faiss:FOLDER",
    "usearch:FOLDER",
    "lancedb:FOLDER#TABLE",
    _POSTGRESQL_FORM,
    "qdrant:http://HOST:PORT#COLLECTION",
    "qdrant:FOLDER#COLLECTION",
)
_KINDS: Final = ("parquet", "faiss", "usearch", "lancedb", "qdrant")
_NAMED_KINDS: Final = ("lancedb", "qdrant")
# Both kinds turn names into folders, and Qdrant puts its names into the paths of URLs.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_QDRANT_SERVER = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?")

# PostgreSQL silently cuts longer identifiers (NAMEDATALEN).
_MAX_IDENTIFIER_BYTES = 63
_POSTGRESQL_SERVER = re.compile(
    r"postgresql://(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]/:,?#@]*)(?::(?P<port>[0-9]{1,5}))?/(?P<database>[^/?#@]+)"
)
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
# An unquoted name is used exactly as written, with its capitals and spaces; quotes are for dots, quotes and @.
_SQL_NAME = re.compile(r'"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^".]+)')


@dataclass(frozen=True, slots=True)
class Address:
    """The address of any target except PostgreSQL's.

    Attributes:
        kind: The kind of target.
        location: An absolute folder, or the URL of a Qdrant server.
        name: The table or collection; empty for kinds that use the whole folder.
        is_server: Whether `location` is a URL.
    """

    kind: Literal["parquet", "faiss", "usearch", "lancedb", "qdrant"]
    location: str
    name: str = ""
    is_server: bool = False

    def __str__(self) -> str:
        """Renders the address as `--to` accepts it."""
        return f"{self.kind}:{self.location}" + (f"#{self.name}" if self.name else "")


@dataclass(frozen=True, slots=True)
class PostgresqlAddress:
    """The address of a PostgreSQL table.

    Attributes:
        host: Name, address or socket folder; None if libpq's environment provides it.
        port: Port; None if libpq's environment provides it.
        database: Name of the database.
        schema: Exact name of the schema.
        table: Exact name of the table.
    """

    host: str | None
    port: int | None
    database: str
    schema: str
    table: str

    def __str__(self) -> str:
        """Renders the address with host and port from libpq's environment, and without user or password."""
        # The same --to can mean two servers, and these are two targets.
        host = self.host or os.environ.get("PGHOST") or ""
        port = self.port or os.environ.get("PGPORT") or ""
        server = (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
        return f"postgresql://{server}/{quote(self.database, safe='')}#{self.qualified_table}"

    @property
    def qualified_table(self) -> str:
        """Schema and table, quoted where `--to` requires it."""
        return f"{_quoted(self.schema)}.{_quoted(self.table)}"


def parse_address(text: str) -> Address | PostgresqlAddress:
    """Parses `--to`.

    Args:
        text: One of the `FORMS`. It may contain a password by mistake, so messages do not repeat it until that is ruled
            out.

    Returns:
        The address.

    Raises:
        InputError: The text matches none of the forms, or contains a user or a password.
    """
    # An address appears on one printable line everywhere: in messages, in the store's record, on a terminal.
    if not text.isprintable():
        raise InputError("--to contains characters that cannot be printed. Remove them.")
    if text.startswith("postgresql://"):
        return _parse_postgresql(text)
    prefix, _, rest = text.partition(":")
    for kind in _KINDS:
        if prefix == kind:
            location, _, name = rest.rpartition("#") if kind in _NAMED_KINDS else (rest, "", "")
            if kind in _NAMED_KINDS and not _NAME.fullmatch(name):
                raise InputError(
                    f"--to {kind}: has no valid table or collection name. After the last #, write 1 to 200 ASCII "
                    "letters, digits, dots, hyphens and underscores, starting with a letter, digit or underscore."
                )
            if kind == "qdrant" and location.startswith(("http:", "https:")):
                return Address(kind, _parse_server(location), name, is_server=True)
            return Address(kind, _parse_folder(kind, location), name)
    raise InputError(f"unrecognized --to. Use one of the forms {', '.join(FORMS)}.")


def identifier_fault(name: str) -> str | None:
    """Explains why PostgreSQL cannot keep the name of a schema, table or column exactly.

    Args:
        name: The name.

    Returns:
        The fault, worded to follow the name in a sentence; None if the name is valid.

    Example:
        >>> identifier_fault("x" * 64)
        'is longer than the 63 bytes that PostgreSQL keeps'
    """
    if not name:
        return "is empty"
    if "\0" in name:
        return "has a NUL character"
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_IDENTIFIER_BYTES:
        return f"is longer than the {_MAX_IDENTIFIER_BYTES} bytes that PostgreSQL keeps"
    return None


def _parse_server(url: str) -> str:
    if "@" in url or "?" in url:
        raise InputError(
            "--to qdrant: contains a user, a password or a key. Remove it, and set QDRANT_API_KEY if the server "
            "requires a key."
        )
    found = _QDRANT_SERVER.fullmatch(url)
    if found is None or int(found[3]) > 65535:
        raise InputError("--to qdrant: has no valid server. Write http://HOST:PORT or https://HOST:PORT.")
    return f"{found[1]}://{found[2].lower()}:{int(found[3])}"


def _parse_folder(kind: str, folder: str) -> str:
    if not folder:
        raise InputError(f"--to {kind}: names no folder. Write {kind}:FOLDER.")
    if _URL.match(folder):
        raise InputError(
            f"--to {kind}: names a URL, but files can only be written to folders of this machine. Name a folder."
        )
    try:
        # Links are resolved, so a folder has the same name in the store's record however it was given.
        return str(Path(folder).expanduser().resolve())
    except (OSError, RuntimeError) as error:
        raise InputError(f"--to {kind}: the folder {folder} cannot be found. Name an absolute path.") from error


def _parse_postgresql(text: str) -> PostgresqlAddress:
    """Parses `postgresql://HOST[:PORT]/DATABASE#[SCHEMA.]TABLE`.

    The host may be empty, and then comes from libpq's environment. Host and database may be percent-encoded. The part
    after `#` is used exactly as written; names with dots, quotes or `@` are quoted as in SQL. The default schema is
    `public`.
    """
    server, hash_mark, name = text.partition("#")
    # A password may itself contain a #, so a bare @ after the # ends a password and is not part of a name.
    if "@" in server + _QUOTED.sub("", name) or "?" in server:
        raise InputError(
            "--to postgresql: contains a user, a password or options. Remove them, and set PGUSER, PGPASSWORD or "
            "PGPASSFILE, PGSSLMODE and the like in the environment."
        )
    found = _POSTGRESQL_SERVER.fullmatch(server)
    if found is None or not hash_mark or int(found["port"] or 1) not in range(1, 65536):
        raise InputError(f"unrecognized --to postgresql:. Write {_POSTGRESQL_FORM}.")
    try:
        host, database = (unquote_to_bytes(found[key]).decode() for key in ("host", "database"))
    except UnicodeDecodeError as error:
        raise InputError("--to postgresql: is percent-encoded, but not as UTF-8. Fix host and database.") from error
    port = int(found["port"]) if found["port"] else None
    schema, table = _split_table_name(name)
    faults = [
        f"--to postgresql: the name of the {part} {fault}. Use another name."
        for part, value in (("database", database), ("schema", schema), ("table", table))
        if (fault := identifier_fault(value))
    ]
    if faults:
        raise InputError(faults)
    return PostgresqlAddress(host.strip("[]") or None, port, database, schema, table)


def _split_table_name(text: str) -> tuple[str, str]:
    names, position = [], 0
    while found := _SQL_NAME.match(text, position):
        quoted = found["quoted"]
        names.append(found["plain"] if quoted is None else quoted.replace('""', '"'))
        position = found.end()
        if text[position : position + 1] != ".":
            break
        position += 1
    if position != len(text) or text.endswith(".") or len(names) not in (1, 2):
        raise InputError(
            "--to postgresql: has no valid table name. After the #, write TABLE or SCHEMA.TABLE, and put names that "
            'contain dots, quotes or @ in double quotes, such as public."my.table".'
        )
    schema, table = names if len(names) == 2 else ("public", names[0])
    return schema, table


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set('".@') or not name else name
