"""Text files of queries, judgments and sentence pairs: their lines, their CSV records, and how faults are reported."""

import codecs
import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError

# Line number, from 1, and fault.
LineFault = tuple[int, str]
# Line number, from 1, and the fields that begin there.
Record = tuple[int, list[str]]
_NAMED = 10


@dataclass(frozen=True)
class TextFile:
    """A file in UTF-8.

    Attributes:
        path: Its path.
        sha256: Hash of its bytes, 64 hex digits.
        content: Every line with its line end, in order; a line that is not UTF-8 is empty.
        faults: A fault for each line that is not UTF-8.
    """

    path: Path
    sha256: str
    content: Sequence[str]
    faults: Sequence[LineFault]

    @property
    def lines(self) -> list[tuple[int, str]]:
        """Number, from 1, and text of each line that is not blank, without its line end."""
        return [(number, line.rstrip("\r\n")) for number, line in enumerate(self.content, start=1) if line.strip()]


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
        file = as_text(path, path.read_bytes())
    except OSError as error:
        raise InputError(f"the {what} file {path} cannot be read: {error.strerror}. Name another file.") from error
    if not file.lines and not file.faults:
        raise InputError(f"the {what} file {path} is empty. Name a file with {what}.")
    return file


def as_text(path: Path, content: bytes) -> TextFile:
    """Decodes a file's bytes line by line."""
    lines: list[str] = []
    faults: list[LineFault] = []
    # Bytes, because splitting text would also split at Unicode's own line separators, which a sentence may contain.
    raw_lines = content.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True)
    for number, raw in enumerate(raw_lines, start=1):
        try:
            lines.append(raw.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append("")
            faults.append((number, "is not UTF-8. Save the file as UTF-8."))
    return TextFile(path, hashlib.sha256(content).hexdigest(), lines, faults)


def csv_records(file: TextFile) -> tuple[list[Record], list[LineFault]]:
    """Reads CSV as RFC 4180 has it: quotes are doubled inside quotes, where line breaks stay as they were written.

    Args:
        file: The file. If its name ends in `.tsv`, tabs separate, and quotation marks are plain characters.

    Returns:
        The records that are not blank, and the file's faults. A file with lines that are not UTF-8 has no records,
        because without these lines quotation marks no longer pair up.
    """
    if file.faults:
        return [], list(file.faults)
    if file.path.suffix.lower() == ".tsv":
        reader = csv.reader(file.content, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(file.content, strict=True)
    records: list[Record] = []
    faults: list[LineFault] = []
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            faults.append((number, f"is not CSV ({error}). Fix the quotation marks."))
            continue
        if fields is None:
            return records, faults
        if len(fields) > 1 or "".join(fields).strip():
            records.append((number, fields))


def first_faults(path: Path | str, faults: Iterable[LineFault], unit: str = "line") -> list[str]:
    """Names the first ten faults with their lines, and counts the rest.

    Args:
        path: The file.
        faults: Faults in any order.
        unit: What the numbers count.

    Returns:
        One message for each of the first ten, and one for the rest.
    """
    ordered = sorted(faults)
    others = len(ordered) - _NAMED
    named = [f"{path}, {unit} {number}: {fault}" for number, fault in ordered[:_NAMED]]
    return [*named, *([f"and {others:,} more in {path}"] if others > 0 else [])]
