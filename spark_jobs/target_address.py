"""What `--to` may say: the kinds of targets, and where each of them is."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from schemas.errors import InputError
from spark_jobs.postgresql_place import PostgresqlPlace, parse_postgresql

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


def parse(text: str) -> Address | PostgresqlPlace:
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
