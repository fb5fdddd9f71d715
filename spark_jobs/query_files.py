"""Queries from a file as BEIR has them."""

import json

from spark_jobs.evaluation_files import LineFault, TextFile, shown
from udfs.documents import is_blank


def query_texts(file: TextFile) -> tuple[dict[str, str], list[LineFault]]:
    """Reads queries: JSON lines, each an object with `_id` and `text`; other keys are passed over.

    Args:
        file: The file.

    Returns:
        Text of each query by its id, in the file's order; and number and fault of each line that is wrong.
    """
    texts: dict[str, str] = {}
    faults = list(file.faults)
    for number, line in file.lines:
        try:
            query, text = _query(line)
            if query in texts:
                raise ValueError(f"query id {shown(query)} stands in an earlier line too: make ids unique")
            texts[query] = text
        except ValueError as error:
            faults.append((number, str(error)))
    return texts, faults


def _query(line: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise ValueError('is not a JSON object: write one such as {"_id": "1", "text": "..."}')
    query, text = row.get("_id"), row.get("text")
    # Some writers make numbers of ids that consist of digits.
    query = str(query) if isinstance(query, int) and not isinstance(query, bool) else query
    if not isinstance(query, str) or not query:
        raise ValueError("has no _id: give each query an id")
    if not _is_unicode(query) or not isinstance(text, str) or not _is_unicode(text):
        raise ValueError(f"query {shown(query)} has no text that is valid Unicode: write what is asked")
    if is_blank(text):
        raise ValueError(f"query {shown(query)} has an empty text: write what is asked, or take the line out")
    return query, text


def _is_unicode(text: str) -> bool:
    # JSON can name half of a surrogate pair, which no other format can.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
