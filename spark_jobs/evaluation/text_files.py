"""Text files that an evaluation reads: their lines and faults."""

import codecs
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError

# Line number, from 1, and fault.
LineFault = tuple[int, str]
_NAMED = 10


@dataclass(frozen=True)
class TextFile:
    """A file in UTF-8.

    Attributes:
        path: Its path.
        sha256: Hash of its bytes, 64 hex digits.
        lines: Number, from 1, and text of each line that is not blank, without its line end.
        faults: A fault for each line that is not UTF-8.
    """

    path: Path
    sha256: str
    lines: Sequence[tuple[int, str]]
    faults: Sequence[LineFault]


def read_text(path: Path, what: str) -> TextFile:
    """Reads a file with lines that end in LF or CRLF, with or without a byte order mark.

    Args:
        path: The file.
        what: What it should contain, in the plural, such as `queries`.

    Returns:
        The file.

    Raises:
        InputError: It cannot be read, or has no lines.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the {what} file {path} cannot be read: {error.strerror}. Name another file.") from error
    lines: list[tuple[int, str]] = []
    faults: list[LineFault] = []
    # Bytes, because splitting text would also split at Unicode's own line separators, which a sentence may contain.
    for number, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            faults.append((number, "is not UTF-8. Save the file as UTF-8."))
            continue
        if line.strip():
            lines.append((number, line))
    if not lines and not faults:
        raise InputError(f"the {what} file {path} is empty. Name a file with {what}.")
    return TextFile(path, hashlib.sha256(content).hexdigest(), lines, faults)


def first_faults(path: Path, faults: Iterable[LineFault]) -> list[str]:
    """Names the first ten faults with their lines, and counts the rest.

    Args:
        path: The file.
        faults: Faults in any order.

    Returns:
        One message for each of the first ten, and one for the rest.
    """
    ordered = sorted(faults)
    others = len(ordered) - _NAMED
    named = [f"{path}, line {number}: {fault}" for number, fault in ordered[:_NAMED]]
    return [*named, *([f"and {others:,} more in {path}"] if others > 0 else [])]
