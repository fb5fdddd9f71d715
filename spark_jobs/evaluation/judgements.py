"""Queries and judgments of the documents relevant to them, from files in BEIR's and TREC's formats."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError
from spark_jobs.search.query_files import parse_queries
from spark_jobs.search.query_rows import Query, shown
from spark_jobs.search.text_files import LineFault, Record, TextFile, csv_records, first_faults, read_text

_HEADINGS = {"score", "relevance", "rel", "label", "grade"}
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
# The measures keep a count for each grade up to the highest one.
_HIGHEST_GRADE = 1000
_TABLES = (".parquet", ".orc")
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


def read_judged(
    queries: Path, judgements: Path, read_table: Callable[[str], Sequence[Query]] | None = None
) -> JudgedQueries:
    """Reads queries and judgments, and leaves out queries without a judgment.

    Args:
        queries: JSON lines, each an object with `_id` and `text`, or CSV with these columns if the name ends in `.csv`;
            others are ignored. See `parse_queries`, which reads the queries of searches too.
        judgements: Columns query id, document id and score, separated by tabs, with or without a heading; the same as
            CSV if the name ends in `.csv`; or TREC's four columns (the second is ignored). Scores are whole numbers; 0
            or less is not relevant.
        read_table: Reads queries that are a folder, Parquet or ORC, by their path; None if they are text for sure.

    Returns:
        The queries that have a judgment.

    Raises:
        InputError: A file cannot be read, or lines are wrong; the first ten of each file are named by number.
    """
    faults: list[str] = []
    query_file, texts = _read_queries(queries, read_table, faults)
    has_all_queries = not faults
    judgement_file = _opened(judgements, "judgements", faults)
    judged, line_faults = _judgements(judgement_file) if judgement_file else ({}, [])
    if query_file and has_all_queries:
        # Otherwise a judgment's query may be on one of the lines that could not be read.
        line_faults += _without_query(judged, texts, query_file)
    faults += first_faults(judgements, line_faults)
    if faults or query_file is None or judgement_file is None:
        raise InputError(faults)
    if not judged:
        raise InputError(f"the judgements file {judgements} has a heading but no judgement. Name another file.")
    kept = {query: text for query, text in texts.items() if query in judged}
    grades = {query: {document: grade for document, (_, grade) in judged[query].items()} for query in kept}
    return JudgedQueries(kept, grades, len(texts) - len(kept), query_file, judgement_file)


def _read_queries(
    path: Path, read_table: Callable[[str], Sequence[Query]] | None, faults: list[str]
) -> tuple[TextFile | None, dict[str, str]]:
    try:
        if read_table is not None and (path.is_dir() or path.suffix.lower() in _TABLES):
            found = read_table(str(path))
            # A table is not one file, so what it says is hashed.
            digest = hashlib.sha256(json.dumps(sorted(found)).encode("ascii")).hexdigest()
            return TextFile(path, digest, (), ()), dict(found)
        file = read_text(path, "queries")
        queries, line_faults = parse_queries({str(path): file})
    except InputError as error:
        faults += error.faults
        return None, {}
    faults += line_faults
    return file, dict(queries)


def _opened(path: Path, what: str, faults: list[str]) -> TextFile | None:
    try:
        return read_text(path, what)
    except InputError as error:
        faults += error.faults
        return None


def _judgements(file: TextFile) -> tuple[_Judgements, list[LineFault]]:
    judged: _Judgements = {}
    records, faults = _records(file)
    for index, (number, fields) in enumerate(records):
        try:
            _check_width(fields)
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


def _records(file: TextFile) -> tuple[list[Record], list[LineFault]]:
    if file.path.suffix.lower() == ".csv":
        return csv_records(file)
    # Quotation marks are plain characters here, as TREC's tools and BEIR's ids without quotation marks take them.
    return [(number, _fields(line)) for number, line in file.lines], list(file.faults)


def _fields(line: str) -> list[str]:
    fields = line.split("\t")
    return fields if len(fields) in (3, 4) else line.split()


def _check_width(fields: Sequence[str]) -> None:
    if len(fields) not in (3, 4):
        raise ValueError(
            "has neither 3 columns nor TREC's 4. Write query id, document id and score, separated by tabs."
        )


def _judgement(fields: Sequence[str]) -> tuple[str, str, int]:
    query, document, score = fields[0], fields[-2], fields[-1].strip()
    if not query or not document:
        raise ValueError("has an empty id. Write query id, document id and score.")
    if not _WHOLE.fullmatch(score) or int(score) > _HIGHEST_GRADE:
        raise ValueError(
            f"the score is not a whole number up to {_HIGHEST_GRADE:,}. Write 0 for not relevant, 1 or more for "
            "relevant."
        )
    # Some collections mark spam with a grade below 0, which the measures do not accept.
    return query, document, max(0, int(score))


def _without_query(judged: _Judgements, texts: Mapping[str, str], query_file: TextFile) -> Iterator[LineFault]:
    for query in judged.keys() - texts.keys():
        for number, _ in judged[query].values():
            yield number, f"query id {shown(query)} is not in {query_file.path}. Add the query, or remove the line."
