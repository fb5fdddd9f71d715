"""Queries and the documents that people found relevant to them, from files as BEIR and TREC have them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError
from spark_jobs.evaluation.text_files import LineFault, TextFile, first_faults, read_text, shown
from udfs.texts import is_blank

_HEADINGS = {"score", "relevance", "rel", "label", "grade"}
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
# The measures keep a count for each grade up to the highest one.
_MOST_GRADE = 1000
# Line and grade of each judgement, by query id and document id.
_Found = dict[str, dict[str, tuple[int, int]]]


@dataclass(frozen=True)
class JudgedQueries:
    """Queries that have a judgement.

    Attributes:
        queries: Text of each by its id, in the file's order.
        grades: How relevant documents are, by query id and document id: 0 is not relevant.
        unjudged: Queries of the file that have no judgement and are left out.
        queries_file: Where the queries come from.
        judgements_file: Where the judgements come from.
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
        """Queries without a relevant document; they count, and score 0 whatever is found."""
        return sum(not any(grades.values()) for grades in self.grades.values())


def read_judged(queries: Path, judgements: Path) -> JudgedQueries:
    """Reads queries and judgements, and leaves out queries that have none.

    Args:
        queries: JSON lines, as `query_files` reads them.
        judgements: Columns query id, document id and score, separated by tabs, with or without a heading; or TREC's
            four, of which the second is passed over. Scores are whole numbers; 0 and less is not relevant.

    Returns:
        The queries that have a judgement.

    Raises:
        InputError: A file cannot be read, or lines are wrong: the first ten of each file with their numbers.
    """
    faults: list[str] = []
    asked, judged = _opened(queries, "queries", faults), _opened(judgements, "judgements", faults)
    texts, wrong = query_texts(asked) if asked else ({}, [])
    faults += first_faults(queries, wrong)
    found, wrong_judgements = _judgements(judged) if judged else ({}, [])
    if asked and not wrong:
        # Of queries that could not be read it is not known whether they are the ones that are missed here.
        wrong_judgements += _unknown(found, texts, asked)
    faults += first_faults(judgements, wrong_judgements)
    if faults or asked is None or judged is None:
        raise InputError(faults)
    if not found:
        raise InputError(f"the judgements file {judgements} has a heading and no judgement: name another one")
    known = {query: text for query, text in texts.items() if query in found}
    grades = {query: {document: grade for document, (_, grade) in found[query].items()} for query in known}
    return JudgedQueries(known, grades, len(texts) - len(known), asked, judged)


def _opened(path: Path, what: str, faults: list[str]) -> TextFile | None:
    try:
        return read_text(path, what)
    except InputError as error:
        faults += error.faults
        return None


def _judgements(file: TextFile) -> tuple[_Found, list[LineFault]]:
    found: _Found = {}
    faults = list(file.faults)
    for position, (number, line) in enumerate(file.lines):
        try:
            fields = _fields(line)
            if position == 0 and fields[-1].strip().lower() in _HEADINGS:
                continue
            query, document, grade = _judgement(fields)
            earlier, known = found.setdefault(query, {}).setdefault(document, (number, grade))
            if known != grade:
                raise ValueError(
                    f"query {shown(query)} has another score for document {shown(document)} in line {earlier}: "
                    "keep one of them"
                )
        except ValueError as error:
            faults.append((number, str(error)))
    return found, faults


def _fields(line: str) -> Sequence[str]:
    fields = line.split("\t")
    if len(fields) not in (3, 4):
        fields = line.split()
    if len(fields) not in (3, 4):
        raise ValueError("has neither 3 columns nor TREC's 4: write query id, document id and score, separated by tabs")
    return fields


def _judgement(fields: Sequence[str]) -> tuple[str, str, int]:
    query, document, score = fields[0], fields[-2], fields[-1].strip()
    if not query or not document:
        raise ValueError("has an empty id: write query id, document id and score")
    if not _WHOLE.fullmatch(score) or int(score) > _MOST_GRADE:
        raise ValueError(
            f"score {shown(score)} is no whole number up to {_MOST_GRADE:,}: write 0 for not relevant, 1 or more for "
            "relevant"
        )
    # Some collections mark spam by less than 0; the measures know no such grade.
    return query, document, max(0, int(score))


def _unknown(found: _Found, texts: Mapping[str, str], asked: TextFile) -> Iterator[LineFault]:
    for query in found.keys() - texts.keys():
        for number, _ in found[query].values():
            yield number, f"query id {shown(query)} is not in {asked.path}: add the query, or take the line out"


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
