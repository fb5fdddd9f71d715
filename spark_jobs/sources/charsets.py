"""The encodings of text formats: names as people write them, and how bytes survive a reader that wants characters."""

import codecs
from collections.abc import Mapping

from schemas.errors import InputError

UTF_8 = "UTF-8"
LATIN_1 = "ISO-8859-1"
# Python's names of the encodings that Spark reads. US-ASCII is the lower half of UTF-8, read so that nothing is lost.
_KNOWN = {
    "ascii": UTF_8,
    "utf-8": UTF_8,
    "utf-8-sig": UTF_8,
    "iso8859-1": LATIN_1,
    "utf-16": "UTF-16",
    "utf-16-be": "UTF-16BE",
    "utf-16-le": "UTF-16LE",
    "utf-32": "UTF-32",
}


def charset_of(options: Mapping[str, str]) -> str:
    """Finds the encoding that a reader's options name, under any name that Python knows.

    Args:
        options: The options, with names in lower case.

    Returns:
        Spark's name of it; `UTF-8` if the options name none.

    Raises:
        InputError: Spark cannot read it.
    """
    name = options.get("encoding", options.get("charset", UTF_8))
    try:
        known = _KNOWN.get(codecs.lookup(name).name)
    except (LookupError, ValueError):
        known = None
    if known is None:
        raise InputError(
            f"source.options: encoding {name} cannot be read. Write US-ASCII, ISO-8859-1, UTF-8, UTF-16, UTF-16BE, "
            "UTF-16LE or UTF-32, or convert the files to UTF-8."
        )
    return known


def one_character_per_byte(text: str) -> str:
    """Writes text as the characters that its bytes in UTF-8 are in Latin-1, which loses none of them."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def from_one_character_per_byte(text: str) -> str:
    """Turns `one_character_per_byte` back; bytes that are not UTF-8 become U+FFFD."""
    return text.encode("latin-1").decode("utf-8", "replace")
