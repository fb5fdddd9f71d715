"""Hits as lines of JSON, and printed as they are."""

import json
from collections.abc import Callable
from datetime import date, datetime

import pytest
from pyspark.sql import Row
from pyspark.sql.types import StringType, StructField, StructType, TimestampType

from schemas.errors import InputError
from spark_jobs.runtime.command import show
from spark_jobs.search.hits import SearchResult, as_json, as_lines, collect_hits


def test_each_hit_is_one_line_of_json_with_every_payload_but_the_query() -> None:
    payload = {"days": {date(2026, 1, 2): float("nan")}, "nested": [Row(low=float("-inf"))], "text": "a\u2028b"}
    hits = [Row(query_id="question", rank=rank, **payload) for rank in (1, 2)]
    lines = as_json(SearchResult("toy.main", hits, False)).splitlines()
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == [
        {"rank": rank, "days": {"2026-01-02": "NaN"}, "nested": [{"low": "-Infinity"}], "text": "a\u2028b"}
        for rank in (1, 2)
    ]


def test_instants_of_hits_are_in_utc() -> None:
    local = datetime(2026, 7, 1, 12)
    columns = StructType([StructField("query_id", StringType()), StructField("seen", TimestampType())])
    text = as_json(SearchResult("toy.main", [Row(query_id="q", seen=local)], False, columns))
    read = datetime.fromisoformat(json.loads(text)["seen"])
    assert read == local.astimezone() and str(read).endswith("+00:00")


def test_a_hit_is_shown_with_its_headings_as_a_path() -> None:
    def lines(**columns: object) -> list[str]:
        hit = Row(rank=1, score=0.5, doc_id="a", char_start=0, char_end=5, text="Owls.", **columns)
        return as_lines(SearchResult("toy.main", [hit], False)).splitlines()

    assert lines(headings=["Guide", "Owls"], page_start=2, tags=["x"])[0] == (
        "  1  0.500  a [0:5]  headings=Guide > Owls  page_start=2  tags=['x']"
    )
    assert lines(headings=[], page_start=None)[0] == "  1  0.500  a [0:5]"


def test_what_looks_like_a_style_or_an_emoji_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = json.dumps({"text": ":warning: [red]x[/red] " + "long " * 100})
    show(text)
    assert capsys.readouterr().out == text + "\n"


@pytest.mark.parametrize("error", [ValueError("year 10000 is out of range"), OverflowError("date value out of range")])
def test_dates_beyond_pythons_are_named(error: Exception) -> None:
    class Hits:
        collect: Callable[[], list[Row]]

    def fail() -> list[Row]:
        raise error

    hits = Hits()
    hits.collect = fail
    with pytest.raises(InputError, match="outside the years 1 to 9999"):
        collect_hits(hits)  # type: ignore[arg-type]
