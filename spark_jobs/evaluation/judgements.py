"""Queries and judgments of the documents relevant to them, from files in BEIR's and TREC's formats."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError
from spark_jobs.evaluation.text_files import LineFault, TextFile, first_faults, read_text
from spark_jobs.search.query_rows import ID_COLUMNS, TEXT_COLUMN, Query, as_query, query_faults, shown

_ID_KEY = ID_COLUMNS[0]
_HEADINGS = {"score", "relevance", "rel", "label", "grade"}
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
# The measures keep a count for each grade up to the highest one.
_HIGHEST_GRADE = 1000
# Line number and grade of each judgment, by query id and document id.
_Judgements = dict[str, dict[str, tuple[int, int]]]


@dataclass(frozen=True)
class JudgedQueries:
    """Queries that have a judgment.

    Attributes:
        queries: Texts by query id, in the file's order.
        grades: How relevant documents are, by query id and document id; 0 is not relevant.
        unjudged: Number of queries in the file that have no judgment and are left out.
        queries_file: The file of queries.
        judgements_file: The file of judgments.
    """

    queries: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]
    unjudged: int
    queries_file: TextFile
    judgements_file: TextFile

    @property
    def documents(self) -> list[str]:
        """Ids of all judged documents, sorted."""
        return sorted({document for grades in self.grades.values() for document in grades})

    @property
    def hopeless(self) -> int:
        """Number of queries without a relevant document; they count, and score 0 whatever is retrieved."""
        return sum(not any(grades.values()) for grades in self.grades.values())


def read_judged(queries: Path, judgements: Path) -> JudgedQueries:
    """Reads queries and judgments, and leaves out queries without a judgment.

    Args:
        queries: JSON lines, each an object with `_id` and `text`; other keys are ignored.
        judgements: Columns query id, document id and score, separated by tabs, with or without a heading; or TREC's
            four columns (the second is ignored). Scores are whole numbers; 0 or less is not relevant.

    Returns:
        The queries that have a judgment.

    Raises:
        InputError: A file cannot be read, or lines are wrong; the first ten of each file are named by number.
    """
    faults: list[str] = []
    query_file, judgement_file = _opened(queries, "queries", faults), _opened(judgements, "judgements", faults)
    texts, query_line_faults = _texts_by_id(query_file) if query_file else ({}, [])
    faults += first_faults(queries, query_line_faults)
    judged, judgement_line_faults = _judgements(judgement_file) if judgement_file else ({}, [])
    if query_file and not query_line_faults:
        # Otherwise a judgment's query may be on one of the lines that could not be read.
        judgement_line_faults += _without_query(judged, texts, query_file)
    faults += first_faults(judgements, judgement_line_faults)
    if faults or query_file is None or judgement_file is None:
        raise InputError(faults)
    if not judged:
        raise InputError(f"the judgements file {judgements} has a heading but no judgement. Name another file.")
    kept = {query: text for query, text in texts.items() if query in judged}
    grades = {query: {document: grade for document, (_, grade) in judged[query].items()} for query in kept}
    return JudgedQueries(kept, grades, len(texts) - len(kept), query_file, judgement_file)


def _opened(path: Path, what: str, faults: list[str]) -> TextFile | None:
    try:
        return read_text(path, what)
    except InputError as error:
        faults += error.faults
        return None


def _judgements(file: TextFile) -> tuple[_Judgements, list[LineFault]]:
    judged: _Judgements = {}
    faults = list(file.faults)
    for index, (number, line) in enumerate(file.lines):
        try:
            fields = _fields(line)
            if index == 0 and fields[-1].strip().lower() in _HEADINGS:
                continue
            query, document, grade = _judgement(fields)
            first_number, first_grade = judged.setdefault(query, {}).setdefault(document, (number, grade))
            if first_grade != grade:
                raise ValueError(
                    f"query {shown(query)} has another score for document {shown(document)} in line {first_number}. "
                    "Keep one of them."
                )
        except ValueError as error:
            faults.append((number, str(error)))
    return judged, faults


def _fields(line: str) -> Sequence[str]:
    fields = line.split("\t")
    if len(fields) not in (3, 4):
        fields = line.split()
    if len(fields) not in (3, 4):
        raise ValueError(
            "has neither 3 columns nor TREC's 4. Write query id, document id and score, separated by tabs."
        )
    return fields


def _judgement(fields: Sequence[str]) -> tuple[str, str, int]:
    query, document, score = fields[0], fields[-2], fields[-1].strip()
    if not query or not document:
        raise ValueError("has an empty id. Write query id, document id and score.")
    if not _WHOLE.fullmatch(score) or int(score) > _HIGHEST_GRADE:
        raise ValueError(
            f"score {shown(score)} is not a whole number up to {_HIGHEST_GRADE:,}. Write 0 for not relevant, 1 or more "
            "for relevant."
        )
    # Some collections mark spam with a grade below 0, which the measures do not accept.
    return query, document, max(0, int(score))


def _without_query(judged: _Judgements, texts: Mapping[str, str], query_file: TextFile) -> Iterator[LineFault]:
    for query in judged.keys() - texts.keys():
        for number, _ in judged[query].values():
            yield number, f"query id {shown(query)} is not in {query_file.path}. Add the query, or remove the line."


def _texts_by_id(file: TextFile) -> tuple[dict[str, str], list[LineFault]]:
    queries: list[Query] = []
    numbers: list[int] = []
    faults = list(file.faults)
    for number, line in file.lines:
        try:
            queries.append(_query(line))
            numbers.append(number)
        except ValueError as error:
            faults.append((number, str(error)))
    faults += [(numbers[index], fault) for index, fault in query_faults(queries)]
    return dict(queries), faults


def _query(line: str) -> Query:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise ValueError('is not a JSON object. Write one such as {"_id": "1", "text": "..."}.')
    query_id, text = row.get(_ID_KEY), row.get(TEXT_COLUMN)
    if query_id == "" or not isinstance(query_id, str | int) or isinstance(query_id, bool):
        raise ValueError(f"has no {_ID_KEY}. Give each query an id.")
    query = as_query(query_id, text)
    if not isinstance(text, str) or not all(map(_is_unicode, query)):
        raise ValueError(f"query {shown(query[0])} has no text that is valid Unicode. Write a text.")
    return query


def _is_unicode(text: str) -> bool:
    # JSON can write half of a surrogate pair, which is not Unicode.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
