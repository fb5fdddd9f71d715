"""What parsing gives, what bounds it, and how a parser refuses a document."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schemas.reasons import MAX_BYTES, MAX_CHARACTERS

# What `Parsed.metadata` may hold. Dates are ISO 8601.
METADATA = ("author", "created", "modified", "subject", "keywords", "description", "to")

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
# PDF's dates: D:20240131235959+01'00'.
_PDF_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-]\d\d)'?(\d\d)?'?)?")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document as text.

    Attributes:
        text: Markdown-like: headings as `#`, lists, tables as pipe tables with a header row, code fenced. None if the
            document was refused.
        mime_type: What the content is, whatever the name says.
        title: As the document declares it, else its first heading.
        pages: Offset in `text`, in code points, at which each page, slide or sheet begins. Empty if the format has
            none.
        language: As the document declares it (BCP 47), never guessed.
        metadata: Values by the names in `METADATA`.
        reason: Why it was refused, one of `schemas.reasons`.
        detail: The reason in words, without any of the document's.
    """

    text: str | None
    mime_type: str
    title: str | None = None
    pages: tuple[int, ...] = ()
    language: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost.

    Attributes:
        seconds: Time for one document, measured by whoever waits for it.
        memory_bytes: Address space of the process that parses, its libraries included (about 80 MB).
        content_bytes: Size of the document.
        characters: Length of the text.
        entries: Members of an archive (DOCX, EPUB and the like are archives).
        unpacked_bytes: What an archive may hold, unpacked.
        ratio: How many times larger than packed a member may become; small members may exceed it.
    """

    seconds: float = 60.0
    memory_bytes: int = 2**30
    content_bytes: int = MAX_BYTES
    characters: int = MAX_CHARACTERS
    entries: int = 10_000
    unpacked_bytes: int = 500_000_000
    ratio: int = 200


class RefusedError(Exception):
    """A document that is not taken.

    Args:
        reason: One of `schemas.reasons`.
        detail: The reason in words, without any of the document's.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def language_of(declared: str | None) -> str | None:
    """A declared language, if it has the form of one: `de`, `pt-BR`, `zh-Hans`."""
    language = (declared or "").strip().replace("_", "-")
    return language if _LANGUAGE.fullmatch(language) else None


def metadata_of(**values: str | None) -> dict[str, str]:
    """The values that are there, with white space collapsed."""
    unknown = values.keys() - set(METADATA)
    if unknown:
        raise KeyError(f"unknown metadata {sorted(unknown)}")
    cleaned = {name: " ".join((value or "").split()) for name, value in values.items()}
    return {name: value for name, value in cleaned.items() if value}


def iso_date(declared: str | None) -> str | None:
    """A date as ISO 8601, if it is one of ISO 8601 or PDF.

    Args:
        declared: As the document has it.

    Returns:
        Date and time, with the zone if it is known; None for what is no date.
    """
    text = (declared or "").strip()
    found = _PDF_DATE.fullmatch(text)
    try:
        if found:
            numbers = [int(part or least) for part, least in zip(found.groups()[:6], (1, 1, 1, 0, 0, 0), strict=True)]
            zone = "+00:00" if found[7] else f"{found[8]}:{found[9] or '00'}" if found[8] else ""
            year, month, day, hour, minute, second = numbers
            text = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}"
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.isoformat().replace("+00:00", "Z") if moment.tzinfo is UTC else moment.isoformat()
