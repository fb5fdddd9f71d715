"""Rows of query files: which columns they have, how a row becomes a query, and which queries are refused; no Spark."""

from collections.abc import Collection, Iterable, Iterator

from udfs.texts import is_blank

# Id and text.
Query = tuple[str, str]
# Names for the column that identifies a query, BEIR's first.
ID_COLUMNS = ("_id", "id", "query_id")
TEXT_COLUMN = "text"
_SHOWN_CHARACTERS = 80


def find_id_column(columns: Collection[str]) -> str | None:
    """Returns the column that identifies queries, or None."""
    return next((name for name in ID_COLUMNS if name in columns), None)


def as_query(query_id: object, text: str | None) -> Query:
    """Takes the two values of a row: some writers turn ids made of digits into numbers, and a missing text is empty."""
    return str(query_id), text or ""


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


def shown(name: str) -> str:
    """Quotes the beginning of an id or word from a file, and escapes every character that could upset a terminal."""
    return ascii(name[:_SHOWN_CHARACTERS])
