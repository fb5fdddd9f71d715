"""The Spark wrapper for parsing: reads files, hashes what it read, and parses what is not known yet."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from schemas.documents import PARSED
from schemas.errors import InputError
from schemas.reasons import MAX_BYTES, REASONS, TOO_LARGE
from udfs.file_times import is_racy, microseconds
from udfs.parsing.bounded import BoundedParser
from udfs.parsing.parse import PARSER_VERSION, need_packages
from udfs.parsing.parsed import Limits, Parsed
from udfs.worker import require_version

Batches = Iterator[pa.RecordBatch]
_ARROW = to_arrow_schema(PARSED, timezone="UTC")
# Small enough that a text of the largest size fits an Arrow column beside others.
_BATCH_ROWS, _BATCH_CHARACTERS = 500, 8_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ParseSpec:
    """How files are read and parsed.

    Attributes:
        root: The folder, or the file that is the whole source; workers open files below it by their paths.
        is_file: Whether it is a file.
        seen_at: When the listing began, in microseconds since 1970.
        version: Version of the parser on the driver.
        limited: What is recorded as the parser of a file that a limit refused.
        limits: Reasons that limits give.
        seconds: Longest time for one file.
        megabytes: Most memory for one file.
        known: Hashes of contents whose text the table has.
    """

    root: str
    is_file: bool
    seen_at: int
    version: str
    limited: str
    limits: tuple[str, ...]
    seconds: float
    megabytes: int
    known: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class _File:
    """What was read of a file: its bytes (None if it is too large), size, time, and whether it may have changed."""

    content: bytes | None
    size: int
    modified: int
    is_racy: bool


def parse_files(spec: ParseSpec) -> Callable[[Batches], Batches]:
    """Creates the function for `mapInArrow` that reads and parses files. Call this on the driver.

    Args:
        spec: How.

    Returns:
        A function from batches with column path, and size, modified and content where Spark has read the files, to
        batches of `schemas.documents.PARSED`.
    """
    version = require_version()

    def parse(batches: Batches) -> Batches:
        require_version(version)
        _require_parser(spec.version)
        with ExitStack() as stack:
            # Started by the first file whose content is not known.
            parsers: list[BoundedParser] = []

            def parsed(content: bytes, name: str) -> Parsed:
                if not parsers:
                    parsers.append(
                        stack.enter_context(
                            BoundedParser(Limits(seconds=spec.seconds, memory_bytes=spec.megabytes * 2**20))
                        )
                    )
                return parsers[0].parse(content, name)

            rows: list[dict[str, Any]] = []
            characters = 0
            for path, found in _files(batches, spec):
                rows.append(_row(path, found, spec, parsed))
                characters += rows[-1].get("characters") or 0
                if len(rows) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
                    yield pa.RecordBatch.from_pylist(rows, schema=_ARROW)
                    rows, characters = [], 0
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema=_ARROW)

    return parse


def check_parser(version: str) -> Callable[[Batches], Batches]:
    """Creates the function for `mapInArrow` that finds out whether workers have the driver's parser."""
    ours = require_version()

    def check(batches: Batches) -> Batches:
        require_version(ours)
        _require_parser(version)
        yield from batches

    return check


def _require_parser(version: str) -> None:
    need_packages()
    if version != PARSER_VERSION:
        raise InputError(
            f"executors have version {PARSER_VERSION} of the parser, but the driver has {version}. "
            "Install the same packages everywhere."
        )


def _files(batches: Batches, spec: ParseSpec) -> Iterator[tuple[str, _File | None]]:
    for batch in batches:
        names = batch.column("path")
        if "content" not in batch.schema.names:
            for name in names:
                path = name.as_py()
                yield path, _read(spec.root if spec.is_file else f"{spec.root.rstrip('/')}/{path}", path, spec)
            continue
        for row in batch.to_pylist():
            size, content = row["size"], row["content"]
            modified = (row["modified"] - _EPOCH) // timedelta(microseconds=1)
            # Spark asks for the time before it reads, so a later change shows in the next listing.
            racy = is_racy(modified, spec.seen_at) or len(content) != size
            yield row["path"], _File(content, size, modified, racy)


def _read(place: str, path: str, spec: ParseSpec) -> _File | None:
    """Reads a file; returns None if it is not there any more, or is something else now."""
    try:
        # A pipe of that name would be waited for.
        with open(place, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                return None
            content = file.read(MAX_BYTES + 1) if before.st_size <= MAX_BYTES else None
            after = os.fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        if not os.path.exists(spec.root):
            raise InputError(
                f"the folder {spec.root} is not there on this machine. Mount it on every machine at the same place."
            ) from error
        return None
    except OSError as error:
        raise InputError(
            f"the file {path} cannot be read: {error.strerror}. Repair, remove or allow it, and run again."
        ) from error
    if content is not None and len(content) > MAX_BYTES:
        content = None
    is_same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    modified = microseconds(before)
    return _File(content, before.st_size, modified, not is_same or is_racy(modified, spec.seen_at))


def _row(path: str, found: _File | None, spec: ParseSpec, parse: Callable[[bytes, str], Parsed]) -> dict[str, Any]:
    if found is None:
        return {"path": path, "is_gone": True, "is_known": False}
    row = {
        "path": path,
        "size": found.size,
        "modified": _EPOCH + timedelta(microseconds=found.modified),
        "is_racy": found.is_racy,
        "parser": spec.version,
        "is_known": False,
        "is_gone": False,
    }
    if found.content is None:
        return row | too_large_row(found.size) | {"parser": spec.limited}
    digest = hashlib.sha256(found.content)
    row["content_hash"] = digest.hexdigest()
    if digest.digest() in spec.known:
        return row | {"is_known": True}
    return row | _parsed_row(parse(found.content, path), spec)


def too_large_row(size: int) -> dict[str, Any]:
    """Returns what is recorded of a file that is not read because of its size."""
    return {"_refused": {"reason": TOO_LARGE, "detail": f"{size} bytes, at most {MAX_BYTES} are taken"}}


def _parsed_row(parsed: Parsed, spec: ParseSpec) -> dict[str, Any]:
    text = _utf8(parsed.text)
    row = {
        "mime_type": _utf8(parsed.mime_type),
        "title": _utf8(parsed.title),
        "language": _utf8(parsed.language),
        "metadata": [(_utf8(key), _utf8(value)) for key, value in parsed.metadata.items()],
        "author": _utf8(parsed.metadata.get("author")),
        "page_count": len(parsed.pages) or None,
    }
    if parsed.reason is None:
        return row | {"text": text or "", "characters": len(text or ""), "pages": list(parsed.pages)}
    parser = spec.limited if parsed.reason in spec.limits else spec.version
    detail = _utf8(parsed.detail) or REASONS.get(parsed.reason, parsed.reason)
    return row | {"parser": parser, "_refused": {"reason": parsed.reason, "detail": detail}}


def _utf8(text: str | None) -> str | None:
    """Replaces what no column of text takes: halves of characters."""
    return None if text is None else text.encode("utf-8", "replace").decode()
