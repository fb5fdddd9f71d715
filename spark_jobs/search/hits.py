"""How hits of one question are shown."""

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
    """What was found for one question.

    Attributes:
        space: Library and space.
        hits: Rows of `nearest`, best first.
        truncated: Whether the model saw only the beginning of the question.
    """

    space: str
    hits: list[Row]
    truncated: bool


def as_lines(answer: SearchResult) -> str:
    """Renders hits for people.

    Args:
        answer: What was found.

    Returns:
        Two lines for each hit: rank, score, document, place and payload; the beginning of its text.
    """
    if not answer.hits:
        return f"{answer.space}: no chunk fits"
    return "\n".join(line for hit in answer.hits for line in _lines(hit))


def as_json(answer: SearchResult) -> str:
    """Renders hits for programs.

    Args:
        answer: What was found.

    Returns:
        One JSON object a line, with all columns; what JSON has no form for is text.
    """
    rows = (hit.asDict(recursive=True) for hit in answer.hits)
    return "\n".join(
        json.dumps({k: v for k, v in row.items() if k != "query_id"}, ensure_ascii=False, default=str) for row in rows
    )


def _lines(hit: Row) -> tuple[str, str]:
    payload = "".join(
        f"  {_plain(name)}={_plain(str(value), _PAYLOAD_CHARACTERS)}"
        for name, value in hit.asDict().items()
        if name not in _OWN and value is not None
    )
    place = f"[{hit.char_start}:{hit.char_end}]"
    head = f"{hit['rank']:>3}  {hit.score:.3f}  {_plain(hit.doc_id)} {place}{payload}"
    return head, f"            {_plain(hit.text, _TEXT_CHARACTERS)}"


def _plain(text: str, characters: int = 200) -> str:
    # What a terminal would obey is not shown to it.
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shorten(shown, characters, placeholder=" ...") or shown[:characters]
