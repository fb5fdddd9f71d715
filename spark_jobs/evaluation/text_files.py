"""Text files that an evaluation reads: their lines, and what is wrong with them."""

import codecs
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError

LineFault = tuple[int, str]
_NAMED = 10
_NAME_CHARACTERS = 80


@dataclass(frozen=True)
class TextFile:
    """A file in UTF-8.

    Attributes:
        path: Where it lies.
        sha256: Hash of its bytes, 64 hex digits.
        lines: Number, from 1, and text of each line that is not blank, without its end.
        faults: Number and one sentence for each line that is not UTF-8.
    """

    path: Path
    sha256: str
    lines: Sequence[tuple[int, str]]
    faults: Sequence[LineFault]


def read_text(path: Path, what: str) -> TextFile:
    """Reads a file whose lines end by LF or CRLF, with or without a byte order mark.

    Args:
        path: The file.
        what: What it should hold, such as `queries`.

    Returns:
        The file.

    Raises:
        InputError: It cannot be read, or has no line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the {what} file {path} cannot be read: {error.strerror}: name another one") from error
    lines: list[tuple[int, str]] = []
    faults: list[LineFault] = []
    # Bytes, for text is also split where a sentence holds one of Unicode's own line separators.
    for number, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            faults.append((number, "is not UTF-8: save the file as UTF-8"))
            continue
        if line.strip():
            lines.append((number, line))
    if not lines and not faults:
        raise InputError(f"the {what} file {path} is empty: name a file that has {what}")
    return TextFile(path, hashlib.sha256(content).hexdigest(), lines, faults)


def shown(name: str) -> str:
    """Shows an id or a word from a file on one harmless line.

    Args:
        name: Any text.

    Returns:
        Its beginning, quoted, with every character that could upset a terminal escaped.
    """
    return ascii(name[:_NAME_CHARACTERS])


def first_faults(path: Path, faults: Iterable[LineFault]) -> list[str]:
    """Says where faults are, and keeps the message readable where a whole file is wrong.

    Args:
        path: The file.
        faults: Line, from 1, and what is wrong there and what to do, in any order.

    Returns:
        One sentence for each of the first ten, and how many others there are.
    """
    ordered = sorted(faults)
    others = len(ordered) - _NAMED
    named = [f"{path}, line {number}: {fault}" for number, fault in ordered[:_NAMED]]
    return [*named, *([f"and {others:,} more in {path}"] if others > 0 else [])]
