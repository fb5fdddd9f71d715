"""Query files of every format, read by the same rules: what is a text, what is an id, and what is refused."""

import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs.search.hits import SearchResult, as_json, collect_hits
from spark_jobs.search.queries import read_queries

pytestmark = pytest.mark.spark

HARD = [
    ("1", 'He said "no", then left.'),
    ("2", "two\nlines\n\nand a blank one"),
    ("3", "ends of\r\nWindows"),
    ("4", '"'),
    ("5", "a\\b\\"),
    ("6", "NA"),
    ("NA", "null"),
    ("null", "NaN"),
    ("007", "Überall 🦉\u2028x"),
]


def write_csv(path: Path, rows: list[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("_id", "text"), *rows])


def write_jsonl(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in rows))


def faults_of(spark: SparkSession, path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_queries(spark, str(path))
    return [fault.replace(f"{path.parent}/", "") for fault in caught.value.faults]


def test_texts_and_ids_are_read_as_they_were_written(spark: SparkSession, tmp_path: Path) -> None:
    write_csv(tmp_path / "q.csv", HARD)
    write_jsonl(tmp_path / "q.jsonl", HARD)
    spark.createDataFrame(HARD, "_id string, text string").coalesce(1).write.parquet(str(tmp_path / "q.parquet"))
    for name in ("q.csv", "q.jsonl", "q.parquet"):
        assert read_queries(spark, str(tmp_path / name)) == HARD, name


def test_a_folder_of_files_is_read_file_by_file(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "queries.csv"
    folder.mkdir()
    write_csv(folder / "part-0", HARD[:4])
    # The columns of each file are those of its own header.
    content = b"text,_id\n" + b"".join(f"{key},{key}\n".encode() for key, _ in HARD[4:])
    (folder / "part-1.csv.gz").write_bytes(gzip.compress(content))
    (folder / "_SUCCESS").touch()
    assert read_queries(spark, str(folder)) == [*HARD[:4], *((key, key) for key, _ in HARD[4:])]
    write_csv(folder / "part-2", [("1", "again")])
    (fault,) = faults_of(spark, folder)
    assert fault == "queries.csv/part-2, line 2: query id '1' appears more than once. Make ids unique."


def test_numbers_that_became_fractions_are_the_ids_they_were(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"id": 1.0, "text": "a"}\n{"id": 2, "text": "b"}\n{"id": "3.0", "text": "c"}\n')
    assert read_queries(spark, str(tmp_path / "q.jsonl")) == [("1", "a"), ("2", "b"), ("3.0", "c")]
    for kind, values in {
        "double": (1.0, 12345678.0),
        "bigint": (1, 12345678),
        "decimal(10,2)": (Decimal(1), Decimal("12345678.00")),
    }.items():
        path = tmp_path / f"{kind}.parquet"
        rows = [(value, "a") for value in values]
        spark.createDataFrame(rows, f"id {kind}, text string").coalesce(1).write.parquet(str(path))
        assert read_queries(spark, str(path)) == [("1", "a"), ("12345678", "a")]


def test_a_missing_id_is_named_and_never_becomes_a_text(spark: SparkSession, tmp_path: Path) -> None:
    rows = [("1", "a"), (None, "b"), ("", "c"), (None, "d")]
    write_csv(tmp_path / "q.csv", rows)
    write_jsonl(tmp_path / "q.jsonl", rows)
    for name in ("q.csv", "q.jsonl"):
        first = 3 if name == "q.csv" else 2
        assert faults_of(spark, tmp_path / name) == [
            f"{name}, line {first + n}: has no _id that is text or a whole number. Give each query an id."
            for n in range(3)
        ]
    path = tmp_path / "q.parquet"
    values = [(1.0, "a"), (None, "b"), (float("nan"), "c"), (1.5, "d"), (1e300, "e"), (2.0, None)]
    spark.createDataFrame(values, "_id double, text string").coalesce(1).write.parquet(str(path))
    told = faults_of(spark, path)
    assert [fault.partition(":")[0] for fault in told] == [f"q.parquet, row {n}" for n in range(2, 7)]
    assert ["has no _id" in fault for fault in told] == [True, True, True, True, False]


def test_columns_of_the_wrong_kind_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    spark.createDataFrame([(True, 5)], "_id boolean, text int").write.parquet(str(path))
    assert faults_of(spark, path) == [
        "column _id of the queries q.parquet is boolean. Cast it to a string or a whole number.",
        "column text of the queries q.parquet is int. Cast it to a string.",
    ]


def test_hits_as_json_of_what_spark_collects(spark: SparkSession) -> None:
    hits = spark.sql(
        """select 'q' as query_id, double('nan') as nan, float('-inf') as low, map(date'2026-01-02', double('inf')) as
        days, map(true, 1) as flags, map(named_struct('a', 1, 'b', 'x'), 2) as structs, 1.50 as price,
        timestamp'2026-01-02 03:04:05.6+02:00' as seen, array(timestamp_ntz'2026-01-02 03:04:05') as clock, x'00ff' as
        bytes, named_struct('at', timestamp'1970-01-01 00:00:00Z', 'none', null) as nested, parse_json('{"v": 1}') as v,
        interval '1 02:03:04.5' day to second as lasts, 9223372036854775807 as long"""
    )
    result = SearchResult("toy.main", collect_hits(hits), False, hits.schema)
    assert json.loads(as_json(result), parse_constant=pytest.fail) == {
        "nan": "NaN",
        "low": "-Infinity",
        "days": {"2026-01-02": "Infinity"},
        "flags": {"true": 1},
        "structs": {'{"a": 1, "b": "x"}': 2},
        "price": "1.50",
        "seen": "2026-01-02T01:04:05.600000+00:00",
        "clock": ["2026-01-02T03:04:05"],
        "bytes": "AP8=",
        "nested": {"at": "1970-01-01T00:00:00+00:00", "none": None},
        "v": {"v": 1},
        "lasts": "PT93784.5S",
        "long": 9223372036854775807,
    }
    with pytest.raises(InputError, match="the payload of a hit has a date or a time outside the years 1 to 9999"):
        collect_hits(spark.sql("select date'+10000-01-01' as day"))
