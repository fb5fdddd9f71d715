"""Queries from JSON lines, CSV and rows: the same ids and texts from each, and how wrong ones are reported."""

import csv
import io
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from spark_jobs.search.query_files import parse_queries, take_queries
from spark_jobs.search.query_rows import as_query
from spark_jobs.search.text_files import as_text
from udfs.texts import is_blank

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00")).filter(lambda text: not is_blank(text))


def read(content: str, name: str = "q.csv") -> tuple[list[tuple[str, str]], list[str]]:
    return parse_queries({name: as_text(Path(name), content.encode("utf-8"))})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=4))
def test_every_format_gives_back_what_was_written(queries: dict[str, str]) -> None:
    expected = list(queries.items())
    # Python's writer leaves a lone CR without quotation marks where rows end in LF, which RFC 4180 does not know.
    for ends, quoting in (("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_ALL)):
        file = io.StringIO(newline="")
        writer = csv.writer(file, lineterminator=ends, quoting=quoting)
        writer.writerows([("text", "id"), *((text, key) for key, text in expected)])
        assert read(file.getvalue()) == (expected, [])
    lines = "".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in expected)
    assert read(lines, "q.jsonl") == (expected, [])
    assert take_queries("t", "id", expected) == (expected, [])


def test_words_for_missing_values_are_words() -> None:
    words = ["NA", "NaN", "null", "None", "1.0", "007"]
    expected = [(word, word) for word in words]
    assert read("\ufeffid,text\n" + "".join(f"{word},{word}\n" for word in words)) == (expected, [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", "1"),
        (" 1", " 1"),
        (1, "1"),
        (2**70, str(2**70)),
        (1.0, "1"),
        (-0.0, "0"),
        (2.0**53, str(2**53)),
        (Decimal("12.00"), "12"),
    ],
)
def test_an_id_is_the_same_text_in_every_format(value: Any, expected: str) -> None:
    assert as_query(value, "a", "_id") == (expected, "a")


@pytest.mark.parametrize(
    "value", [None, "", " \t", True, 1.5, math.nan, math.inf, 1e300, Decimal("0.5"), Decimal("NaN"), [1], {"a": 1}]
)
def test_what_is_no_id_never_becomes_one(value: Any) -> None:
    with pytest.raises(ValueError, match="has no _id that is text or a whole number"):
        as_query(value, "a", "_id")


@pytest.mark.parametrize(
    ("rows", "faults"),
    [
        (",a\n,b\n", ["line 2: has no id ", "line 3: has no id "]),
        ('"",a\n', ["line 2: has no id "]),
        ('1,""\n2,\n', ["line 2: query '1' has an empty text", "line 3: query '2' has an empty text"]),
        ('1,He said "no", then left.\n', ["line 2: has 3 columns instead of 2"]),
        ("\n1,a\n\n2\n", ["line 5: has 1 columns instead of 2"]),
        ('1,"a\n\nb"\n1,c\n', ["line 5: query id '1' appears more than once"]),
        ('1,"a\n2,b\n', ["line 2: is not CSV"]),
        ('1,"a"b\n2,c\n', ["line 2: is not CSV"]),
    ],
)
def test_a_broken_row_is_named_by_its_line(rows: str, faults: list[str]) -> None:
    _, told = read(f"id,text\n{rows}")
    assert len(told) == len(faults)
    assert all(fault.startswith(f"q.csv, {expected}") for fault, expected in zip(told, faults, strict=True)), told


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("1,Who?", r"^the first line of the queries q\.csv is no header\. Write one that names text, and _id, "),
        ("id,Text", "the columns of the queries q.csv are id, Text. "),
        ("id,text,text", "the queries q.csv have more than one column text. "),
    ],
)
def test_a_header_without_the_columns_is_refused(header: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(f"{header}\n1,2,3\n")


def test_one_column_identifies_all_queries_of_a_file() -> None:
    lines = '{"id": 9, "_id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n'
    found, faults = read(lines, "q.jsonl")
    assert (found, faults) == ([("1", "a")], [faults[0]]) and faults[0].startswith("q.jsonl, line 2: has no _id")
    assert read('{"query_id": 1, "text": "a"}\n', "q.jsonl") == ([("1", "a")], [])


def test_ids_are_unique_over_all_files() -> None:
    files = {name: as_text(Path("q.csv"), b"id,text\n7,a\n") for name in ("a", "b")}
    assert parse_queries(files)[1] == ["b, line 2: query id '7' appears more than once. Make ids unique."]


def test_rows_of_tables_are_named_by_their_number() -> None:
    found, faults = take_queries("t", "id", [(1.0, "a"), (None, "b"), (math.nan, "c"), (1, "d"), (2, None)])
    assert found == [("1", "a"), ("1", "d")]
    assert [fault.partition(":")[0] for fault in faults] == ["t, row 2", "t, row 3", "t, row 4", "t, row 5"]


def test_bytes_that_are_not_utf8_are_named_and_no_quotation_is_misread() -> None:
    file = as_text(Path("q.csv"), b'id,text\n1,"a\n\xff"\n2,b\n')
    assert parse_queries({"q.csv": file}) == ([], ["q.csv, line 3: is not UTF-8. Save the file as UTF-8."])
