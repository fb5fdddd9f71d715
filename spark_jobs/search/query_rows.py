"""Rows of query files: which columns they have, how a row becomes a query, and which queries are refused; no Spark."""

import math
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal

from schemas.errors import InputError
from udfs.texts import is_blank

# Id and text.
Query = tuple[str, str]
# Names for the column that identifies a query, BEIR's first.
ID_COLUMNS = ("_id", "id", "query_id")
TEXT_COLUMN = "text"
_SHOWN_CHARACTERS = 80
# More than any model sees; a text of this length is tokenized within seconds.
_MOST_CHARACTERS = 1_000_000
# Above it, not every whole number has a float64 of its own.
_LARGEST_WHOLE_FLOAT = 2**53


def find_id_column(columns: Collection[str]) -> str | None:
    """Returns the column that identifies queries, or None."""
    return next((name for name in ID_COLUMNS if name in columns), None)


def as_query(query_id: object, text: object, id_column: str) -> Query:
    """Takes the two values of a row; an id is the same text in every format.

    Args:
        query_id: Text, taken as it is, or a whole number. A fraction without a remainder is the whole number that it
            was before some writer made room for missing ids.
        text: The query's text.
        id_column: Name of the id, for messages.

    Returns:
        The query, whose text may still be blank.

    Raises:
        ValueError: The id is missing or neither text nor a whole number, or the text is missing or not valid Unicode.
    """
    name = _id_text(query_id)
    if name is None:
        raise ValueError(f"has no {id_column} that is text or a whole number. Give each query an id.")
    if not isinstance(text, str) or not _is_unicode(name) or not _is_unicode(text):
        raise ValueError(f"query {shown(name)} has no text that is valid Unicode. Write a text.")
    return name, text


def _id_text(value: object) -> str | None:
    if isinstance(value, str):
        return None if is_blank(value) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, float | Decimal) or not math.isfinite(value) or value != int(value):
        return None
    return str(int(value)) if -_LARGEST_WHOLE_FLOAT <= int(value) <= _LARGEST_WHOLE_FLOAT else None


def _is_unicode(text: str) -> bool:
    # JSON can write half of a surrogate pair, which is not Unicode.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def query_faults(queries: Iterable[Query]) -> Iterator[tuple[int, str]]:
    """Finds queries that cannot be answered: those without a text, and those with the id of an earlier one.

    Args:
        queries: All queries that are searched together.

    Yields:
        Index of a query, from 0, and its fault: cause and remedy, but not the query's origin.
    """
    ids: set[str] = set()
    for index, (query_id, text) in enumerate(queries):
        if is_blank(text):
            yield index, f"query {shown(query_id)} has an empty text. Write a text, or remove the query."
        if query_id in ids:
            yield index, f"query id {shown(query_id)} appears more than once. Make ids unique."
        ids.add(query_id)


def check_question(text: str) -> None:
    """Refuses a question that cannot be answered: nothing visible, no valid Unicode, or far too long."""
    if not _is_unicode(text):
        raise InputError("the question is not valid UTF-8. Write it in UTF-8.")
    if is_blank(text):
        raise InputError("the question is empty. Write a question.")
    if len(text) > _MOST_CHARACTERS:
        raise InputError(
            f"the question has {len(text):,} characters; at most {_MOST_CHARACTERS:,} are read. Shorten it."
        )


def shown(name: str) -> str:
    """Quotes the beginning of an id or word from a file, and escapes every character that could upset a terminal."""
    return ascii(name[:_SHOWN_CHARACTERS])
