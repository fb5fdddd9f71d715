"""The hits of one question, and how they are shown."""

import json
from dataclasses import dataclass
from textwrap import shorten

from pyspark.sql import Row

from schemas.vectors import KEY_AND_TEXT, RUN

_TEXT_CHARACTERS = 150
_PAYLOAD_CHARACTERS = 40
_OWN = {"query_id", "rank", "score", RUN.name, *(field.name for field in KEY_AND_TEXT)}


@dataclass(frozen=True)
class SearchResult:
    """The chunks nearest to one question.

    Attributes:
        space: Library and space.
        hits: Rows of `nearest`, best first.
        truncated: Whether the question is longer than the model's limit, so only its beginning counted.
    """

    space: str
    hits: list[Row]
    truncated: bool


def as_lines(result: SearchResult) -> str:
    """Renders hits for people.

    Args:
        result: The hits.

    Returns:
        Two lines for each hit: rank, score, document, position and payload; then the beginning of its text.
    """
    if not result.hits:
        return f"{result.space}: no chunk matches"
    return "\n".join(line for hit in result.hits for line in _lines(hit))


def as_json(result: SearchResult) -> str:
    """Renders hits for programs.

    Args:
        result: The hits.

    Returns:
        One JSON object per line, with all columns; values that JSON cannot represent become text.
    """
    rows = (hit.asDict(recursive=True) for hit in result.hits)
    return "\n".join(
        json.dumps({k: v for k, v in row.items() if k != "query_id"}, ensure_ascii=False, default=str) for row in rows
    )


def _lines(hit: Row) -> tuple[str, str]:
    payload = "".join(
        f"  {_plain(name)}={_plain(str(value), _PAYLOAD_CHARACTERS)}"
        for name, value in hit.asDict().items()
        if name not in _OWN and value is not None
    )
    position = f"[{hit.char_start}:{hit.char_end}]"
    head = f"{hit['rank']:>3}  {hit.score:.3f}  {_plain(hit.doc_id)} {position}{payload}"
    return head, f"            {_plain(hit.text, _TEXT_CHARACTERS)}"


def _plain(text: str, characters: int = 200) -> str:
    # Control characters could upset the terminal.
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return shorten(printable, characters, placeholder=" ...") or printable[:characters]
