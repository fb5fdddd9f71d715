"""Files of queries, read by the same rules for every job: JSON lines, CSV, and rows of tables; no Spark."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from schemas.errors import InputError
from spark_jobs.search.query_rows import ID_COLUMNS, TEXT_COLUMN, Query, as_query, find_id_column, query_faults
from spark_jobs.search.text_files import LineFault, TextFile, csv_records, first_faults

# Number of a line or row, from 1, value of the id, and value of the text.
_Row = tuple[int, object, object]


def parse_queries(files: Mapping[str, TextFile]) -> tuple[list[Query], list[str]]:
    """Reads queries from text files: CSV with a header if the name ends in `.csv`, else JSON lines.

    Args:
        files: The files by the names under which messages show them, in order.

    Returns:
        The queries of all files in order, and a message for each fault. If there are faults, queries are missing.

    Raises:
        InputError: A CSV file does not have the columns.
    """
    queries: list[Query] = []
    origins: list[tuple[str, int]] = []
    faults: dict[str, list[LineFault]] = {}
    for name, file in files.items():
        id_column, rows, unread = _csv_rows(name, file) if _is_csv(file.path) else _json_rows(file)
        taken, refused = _taken(id_column, rows)
        faults[name] = unread + refused
        queries += [query for _, query in taken]
        origins += [(name, number) for number, _ in taken]
    for index, fault in query_faults(queries):
        name, number = origins[index]
        faults[name].append((number, fault))
    return queries, [message for name, some in faults.items() for message in first_faults(name, some)]


def take_queries(name: str, id_column: str, rows: Iterable[tuple[object, object]]) -> tuple[list[Query], list[str]]:
    """Takes queries from rows of id and text.

    Args:
        name: Where they come from, for messages.
        id_column: The column that identifies queries.
        rows: Pairs of values.

    Returns:
        The queries, and a message for each fault, with the row's number. If there are faults, queries are missing.
    """
    taken, faults = _taken(id_column, ((number, *row) for number, row in enumerate(rows, start=1)))
    queries = [query for _, query in taken]
    faults += [(taken[index][0], fault) for index, fault in query_faults(queries)]
    return queries, first_faults(name, faults, "row")


def _taken(id_column: str, rows: Iterable[_Row]) -> tuple[list[tuple[int, Query]], list[LineFault]]:
    taken: list[tuple[int, Query]] = []
    faults: list[LineFault] = []
    for number, query_id, text in rows:
        try:
            taken.append((number, as_query(query_id, text, id_column)))
        except ValueError as error:
            faults.append((number, str(error)))
    return taken, faults


def check_columns(name: str, columns: Sequence[str]) -> str:
    """Finds the column that identifies queries.

    Args:
        name: Where the columns come from, for messages.
        columns: Names of all columns.

    Returns:
        The column's name.

    Raises:
        InputError: It or the column `text` is missing or appears twice.
    """
    id_column = find_id_column(columns)
    if id_column is None or TEXT_COLUMN not in columns:
        raise InputError(
            f"the columns of the queries {name} are {', '.join(columns[:10]) or 'none'}. Name them {TEXT_COLUMN}, and "
            f"{', '.join(ID_COLUMNS[:-1])} or {ID_COLUMNS[-1]}."
        )
    for column in (id_column, TEXT_COLUMN):
        if columns.count(column) > 1:
            raise InputError(f"the queries {name} have more than one column {column}. Keep one of them.")
    return id_column


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _csv_rows(name: str, file: TextFile) -> tuple[str, list[_Row], list[LineFault]]:
    records, faults = csv_records(file)
    if not records:
        return ID_COLUMNS[0], [], faults
    header = records[0][1]
    if not {TEXT_COLUMN, *ID_COLUMNS} & set(header):
        # The names that `check_columns` would repeat may be a query.
        raise InputError(
            f"the first line of the queries {name} is no header. Write one that names {TEXT_COLUMN}, and "
            f"{', '.join(ID_COLUMNS[:-1])} or {ID_COLUMNS[-1]}."
        )
    id_column = check_columns(name, header)
    id_index, text_index = header.index(id_column), header.index(TEXT_COLUMN)
    rows: list[_Row] = []
    for number, fields in records[1:]:
        if len(fields) == len(header):
            rows.append((number, fields[id_index], fields[text_index]))
        else:
            fault = f"has {len(fields)} columns instead of {len(header)}. Put texts with commas in quotation marks."
            faults.append((number, fault))
    return id_column, rows, faults


def _json_rows(file: TextFile) -> tuple[str, list[_Row], list[LineFault]]:
    objects: list[tuple[int, dict[str, object]]] = []
    faults = list(file.faults)
    for number, line in file.lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            objects.append((number, row))
        else:
            faults.append((number, 'is not a JSON object. Write one such as {"_id": "1", "text": "..."}.'))
    # One name for the whole file, so that a row without its id is not known by another key.
    id_column = find_id_column({key for _, row in objects for key in row}) or ID_COLUMNS[0]
    return id_column, [(number, row.get(id_column), row.get(TEXT_COLUMN)) for number, row in objects], faults
