"""The hits of one question, and how they are shown."""

from dataclasses import dataclass
from textwrap import shorten

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row
from pyspark.sql.types import StructType

from schemas.context import PART_END
from schemas.errors import InputError
from schemas.vectors import HEADINGS, KEY_AND_TEXT, RUN
from spark_jobs.runtime.json_text import json_text, json_value

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
        columns: Columns of the hits with their types. Without them, JSON has instants in the driver's local time.
    """

    space: str
    hits: list[Row]
    truncated: bool
    columns: StructType | None = None


def collect_hits(hits: DataFrame) -> list[Row]:
    """Collects hits; raises an InputError if a payload value is beyond Python's dates."""
    try:
        return hits.collect()
    except (OverflowError, ValueError) as error:
        if isinstance(error, PySparkException):
            raise
        raise InputError(
            "the payload of a hit has a date or a time outside the years 1 to 9999, which cannot be shown. Leave such "
            "rows out by --where, or write the hits of --queries to --out."
        ) from error


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


def as_json(result: SearchResult, question: int | None = None) -> str:
    """Renders hits for programs.

    Args:
        result: The hits.
        question: Number of the question among several; each object then begins with it.

    Returns:
        One JSON object per line, with all columns; `json_value` says which form each type has.
    """
    kinds = {field.name: field.dataType for field in result.columns or ()}
    rows = ({name: json_value(value, kinds.get(name)) for name, value in hit.asDict().items()} for hit in result.hits)
    number = {} if question is None else {"question": question}
    return "\n".join(json_text(number | {name: row[name] for name in row if name != "query_id"}) for row in rows)


def _lines(hit: Row) -> tuple[str, str]:
    payload = "".join(
        f"  {_plain(name)}={_plain(shown, _PAYLOAD_CHARACTERS)}"
        for name, value in hit.asDict().items()
        if name not in _OWN and (shown := _shown(name, value)) is not None
    )
    position = f"[{hit.char_start}:{hit.char_end}]"
    head = f"{hit['rank']:>3}  {hit.score:.3f}  {_plain(hit.doc_id)} {position}{payload}"
    return head, f"            {_plain(hit.text, _TEXT_CHARACTERS)}"


def _shown(name: str, value: object) -> str | None:
    if name == HEADINGS.name and isinstance(value, list):
        return PART_END.join(map(str, value)) or None
    return None if value is None else str(value)


def _plain(text: str, characters: int = 200) -> str:
    # Control characters could upset the terminal.
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return shorten(printable, characters, placeholder=" ...") or printable[:characters]
