"""Pairs of sentences with a score of how alike they are, from files as the STS Benchmark's."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError
from spark_jobs.evaluation_files import LineFault, TextFile, first_faults, read_text, shown
from udfs.documents import is_blank

_NAMES = ("sentence1", "sentence2", "score")
_FORMAT = "write sentence1, sentence2 and score"


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of sentences, each with the score that people gave it.

    Attributes:
        sentences: The two sentences of each pair.
        scores: Score of each pair, on any scale; higher is more alike.
        file: Where they come from.
    """

    sentences: Sequence[tuple[str, str]]
    scores: Sequence[float]
    file: TextFile


def read_pairs(path: Path) -> ScoredPairs:
    """Reads pairs.

    Args:
        path: Values separated by tabs where the name ends in `.tsv`, else by commas. With a first line of names, among
            them sentence1, sentence2 and score, other columns are passed over; without one there are these three.
            Quotation marks are plain characters where tabs separate.

    Returns:
        The pairs, at least two.

    Raises:
        InputError: The file cannot be read, or lines are wrong: the first ten with their numbers.
    """
    file = read_text(path, "pairs")
    faults = list(file.faults)
    # Where a line is not UTF-8, what quotation marks enclose can no longer be told.
    records = [] if faults else _records(file, faults)
    names = [field.strip().lower() for field in records[0][1]] if records else []
    if set(_NAMES) & set(names):
        number, records = records[0][0], records[1:]
        missing = [name for name in _NAMES if name not in names]
        if missing:
            faults.append((number, f"names no column {' and no column '.join(missing)}: {_FORMAT}"))
            records = []
    else:
        names = list(_NAMES)
    sentences, scores = [], []
    for number, fields in records:
        try:
            first, second, score = _pair(fields, names)
        except ValueError as error:
            faults.append((number, str(error)))
        else:
            sentences.append((first, second))
            scores.append(score)
    if faults:
        raise InputError(first_faults(path, faults))
    if len(set(scores)) < 2:
        raise InputError(f"the pairs file {path} has fewer than two different scores: nothing correlates with them")
    return ScoredPairs(sentences, scores, file)


def _records(file: TextFile, faults: list[LineFault]) -> list[tuple[int, list[str]]]:
    numbers = [number for number, _ in file.lines]
    lines = (f"{line}\n" for _, line in file.lines)
    if file.path.suffix.lower() == ".tsv":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, strict=True)
    records: list[tuple[int, list[str]]] = []
    while True:
        began = reader.line_num
        try:
            fields = next(reader, None)
        except csv.Error as error:
            faults.append((numbers[min(began, len(numbers) - 1)], f"is not CSV ({error}): mend the quotation marks"))
            continue
        if fields is None:
            return records
        records.append((numbers[began], fields))


def _pair(fields: Sequence[str], names: Sequence[str]) -> tuple[str, str, float]:
    if len(fields) != len(names):
        raise ValueError(f"has {len(fields)} columns instead of {len(names)}: {_FORMAT}")
    first, second, score = (fields[names.index(name)] for name in _NAMES)
    if is_blank(first) or is_blank(second):
        raise ValueError("has an empty sentence: write both, or take the line out")
    try:
        value = float(score)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"score {shown(score)} is no number: {_FORMAT}")
    return first, second, value
