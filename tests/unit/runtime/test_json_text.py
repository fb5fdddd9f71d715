"""JSON of whatever a row of Spark can hold."""

import json
import math
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import Row
from pyspark.sql.types import ArrayType, LongType, MapType, StructField, StructType, TimestampNTZType, TimestampType

from spark_jobs.runtime.json_text import json_text, json_value
from spark_jobs.targets.values import json_values

SCALARS: list[st.SearchStrategy[Any]] = [
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.text(st.characters()),
    st.decimals(allow_nan=False, allow_infinity=False, places=18),
    st.binary().map(bytearray),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.none() | st.just(UTC)),
    st.timedeltas(),
]


def rows(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    return st.dictionaries(st.text(min_size=1), values, max_size=3).map(lambda fields: Row(*fields)(*fields.values()))


def maps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
    # All keys of a map have one type; lists and structs are collected as tuples and rows.
    keys = [*SCALARS[1:6], *SCALARS[7:], st.tuples(st.integers(), st.dates()), rows(st.integers() | st.dates())]
    return st.one_of([st.dictionaries(key, values, max_size=3) for key in keys])


VALUES = st.recursive(st.one_of(SCALARS), lambda some: st.lists(some, max_size=3) | rows(some) | maps(some))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(VALUES)
def test_every_value_is_json_that_a_strict_reader_takes(value: Any) -> None:
    text = json_text(value)
    read = json.loads(text, parse_constant=pytest.fail, object_pairs_hook=unique)
    assert read == json.loads(json.dumps(json_value(value)))
    assert text.isascii() and len(text.splitlines()) == 1
    if isinstance(value, dict | list):
        assert len(read) == len(value)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a key that appears twice is one that readers lose"
    return dict(pairs)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (0.1, 0.1),
        (2**70, 2**70),
        (Decimal("1E+3"), "1000"),
        (Decimal("-0.50"), "-0.50"),
        (bytearray(b"\x00\xff"), "AP8="),
        (date(2026, 1, 2), "2026-01-02"),
        (time(1, 2, 3, 4), "01:02:03.000004"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T03:00:00+02:00"),
        (timedelta(days=-1, microseconds=5), "-PT86399.999995S"),
        (timedelta(0), "PT0S"),
        (Row(a=1, b=Row(c=[math.inf])), {"a": 1, "b": {"c": ["Infinity"]}}),
        (OrderedDict({True: 1, False: 2}), {"true": 1, "false": 2}),
        ({1: 1, None: 2}, {"1": 1, "null": 2}),
        ({Row(a=1, b=date(2026, 1, 2)): 1, (1, 2): 2}, {'{"a": 1, "b": "2026-01-02"}': 1, "[1, 2]": 2}),
        (
            {math.nan: 1, 1.5: 2, Decimal("2.0"): 3, date(2026, 1, 2): 4},
            {"NaN": 1, "1.5": 2, "2.0": 3, "2026-01-02": 4},
        ),
        ("\u2028\x85\x9b\ud800", "\u2028\x85\x9b\ud800"),
    ],
)
def test_each_type_has_its_form(value: Any, expected: Any) -> None:
    assert json.loads(json_text(value)) == expected


def test_instants_are_in_utc_wherever_they_are_and_local_times_have_no_zone() -> None:
    instant = datetime(2026, 1, 2, 3, tzinfo=UTC)
    # Spark collects an instant as the driver's local time.
    local = instant.astimezone().replace(tzinfo=None)
    inner = StructType([StructField("at", TimestampType()), StructField("clock", TimestampNTZType())])
    kind = MapType(TimestampType(), ArrayType(inner))
    assert json_value({local: [Row(at=local, clock=local)]}, kind) == {
        "2026-01-02T03:00:00+00:00": [{"at": "2026-01-02T03:00:00+00:00", "clock": local.isoformat()}]
    }
    assert json_value(Row(n=None), StructType([StructField("n", LongType())])) == {"n": None}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([1.5, math.nan, -math.inf], pa.list_(pa.float64())),
        ([(date(2026, 1, 2), True)], pa.map_(pa.date32(), pa.bool_())),
        ([(True, Decimal("1.50"))], pa.map_(pa.bool_(), pa.decimal128(10, 2))),
        ({"a": b"\x00\xff", "b": datetime(2026, 1, 2, 3)}, pa.struct({"a": pa.binary(), "b": pa.timestamp("us")})),
        (datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC), pa.timestamp("us", "UTC")),
    ],
)
def test_the_forms_are_those_of_exports(value: Any, kind: pa.DataType) -> None:
    (exported,) = json_values("column", pa.array([value], kind))
    collected = dict(value) if pa.types.is_map(kind) else Row(**value) if isinstance(value, dict) else value
    assert json_value(collected) == exported
