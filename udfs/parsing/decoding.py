"""Bytes to text: by a mark at their begin, by what the document declares, else by what they look like."""

import codecs
import re
from contextlib import suppress

from schemas.reasons import BINARY
from udfs.parsing.parsed import RefusedError

# The longer ones first: UTF-32's begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What is declared as one of these is read as its superset, as browsers do.
_SUPERSETS = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
_SUPERSETS |= {"iso8859-9": "cp1254", "euc_kr": "cp949", "tis-620": "cp874", "iso8859-11": "cp874"}
_SAMPLE = 4096
_DETECTED = 1_000_000
_MOST_CONTROL_SHARE = 0.05
_CONTROLS = {code: None for code in [*range(0x09), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F, 0xFFFD]}


def decode(content: bytes, declared: str | None = None) -> str:
    """Turns a document's bytes into text.

    Args:
        content: The bytes.
        declared: The encoding that the document names.

    Returns:
        The text without byte order mark, its lines ended by line feeds.
    """
    text = _decoded(content, declared)
    sample = text[:_DETECTED]
    if len(sample) - len(sample.translate(_CONTROLS)) > _MOST_CONTROL_SHARE * len(sample):
        raise RefusedError(BINARY, "more than a twentieth of its characters are control characters")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def declared_in(content: bytes) -> str | None:
    """The encoding that an XML declaration, a `meta` element or a mode line (`coding:`) names near the begin."""
    start = content[:_SAMPLE]
    for pattern in (
        rb"""<\?xml[^>]{0,200}?encoding=["']([\w.:-]{1,40})["']""",
        rb"""<meta[^>]{0,500}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""",
        rb"""^(?:\.\.|<!--|#)[^\n]{0,40}?coding[:=]\s*([\w.:-]{1,40})""",
    ):
        found = re.search(pattern, start, re.IGNORECASE)
        if found:
            return found[1].decode("ascii")
    return None


def _decoded(content: bytes, declared: str | None) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    # Before UTF-8, which zeros and many letters of UTF-16 are too.
    wide = _without_mark(content) if b"\0" in content[:_SAMPLE] else None
    if wide:
        return content.decode(wide, "replace")
    for codec in (_codec(declared), "utf-8"):
        with suppress(UnicodeDecodeError):
            if codec:
                return content.decode(codec)
    if b"\0" in content[:_SAMPLE]:
        raise RefusedError(BINARY, "it holds bytes that no text has")
    return content.decode(_detected(content) or _codec(declared) or "cp1252", "replace")


def _codec(declared: str | None) -> str | None:
    # What is declared within bytes that could be read for it is not UTF-16, whatever it says.
    try:
        name = codecs.lookup((declared or "").strip()).name
        "".encode(name)
    except (LookupError, UnicodeError, ValueError):
        return None
    return None if name.startswith(("utf-16", "utf-32")) else _SUPERSETS.get(name, name)


def _without_mark(content: bytes) -> str | None:
    # In every script one byte of each UTF-16 unit has few values: the high one.
    sample = content[: _SAMPLE * 4]
    sample = sample[: len(sample) // 2 * 2]
    even, odd = set(sample[::2]), set(sample[1::2])
    order = "utf-16-le" if len(odd) <= len(even) else "utf-16-be"
    try:
        text = sample.decode(order)
    except UnicodeDecodeError:
        return None
    plain = sum(1 for letter in text if letter.isprintable() or letter.isspace())
    # No text does without white space or ASCII.
    likely = plain >= 0.98 * len(text) and any(letter.isascii() for letter in text)
    return order if len(content) % 2 == 0 and likely else None


def _detected(content: bytes) -> str | None:
    import charset_normalizer

    best = charset_normalizer.from_bytes(content[:_DETECTED]).best()
    return None if best is None else _codec(best.encoding)
