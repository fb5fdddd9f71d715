"""Payloads of every type: two that differ have different hashes, and two that are equal have the same."""

import pytest
from pyspark.sql import SparkSession

from spark_jobs.embedding.payload_hash import payload_hash

pytestmark = pytest.mark.spark

# Values of one type each, all different from one another.
DIFFERENT = {
    "string": ["NULL", "''", "'a'", "'A'", "'n'", "'v1:a'", "'null'", "CAST(X'61FF62' AS STRING)"],
    "broken strings": [f"CAST(X'{code}' AS STRING)" for code in ("61FF62", "61FE62", "EFBFBD", "FF", "FFFF")],
    "binary": ["CAST(NULL AS BINARY)", "X''", "X'00'", "X'0000'", "X'FF'", "X'FE'"],
    "timestamp": [
        "CAST(NULL AS TIMESTAMP)",
        *(f"TIMESTAMP '2026-01-01 00:00:00.{fraction} UTC'" for fraction in ("123456", "123999", "123", "124")),
        "TIMESTAMP '0001-01-01 00:00:00 UTC'",
    ],
    "timestamp_ntz": [f"TIMESTAMP_NTZ '2026-01-01 00:00:00.{fraction}'" for fraction in ("123456", "123999", "1", "0")],
    "double": ["DOUBLE('NaN')", "-0.0D", "0.0D", "1e-300D", "0.1D", "0.10000000000000002D", "DOUBLE('Infinity')"],
    "float": ["FLOAT('NaN')", "-0.0F", "0.0F", "0.1F", "0.10000001F"],
    "decimal": [
        "CAST(1.00 AS DECIMAL(20, 10))",
        "CAST(1.0000000001 AS DECIMAL(20, 10))",
        "CAST(-1 AS DECIMAL(20, 10))",
    ],
    "interval": ["INTERVAL '1 00:00:00.000001' DAY TO SECOND", "INTERVAL '1 00:00:00' DAY TO SECOND"],
    "array": [
        "CAST(NULL AS ARRAY<STRING>)",
        "ARRAY()",
        "ARRAY('a', 'b')",
        "ARRAY('ab')",
        "ARRAY('b', 'a')",
        "ARRAY('a', NULL)",
    ],
    "map": [
        "MAP('a', 1)",
        "MAP('a', NULL)",
        "MAP('a', 1, 'b', 2)",
        "MAP('a', 2, 'b', 1)",
        "CAST(MAP() AS MAP<STRING, INT>)",
    ],
    "struct": [
        "NAMED_STRUCT('a.b', 'x', 'c', TIMESTAMP '2026-01-01 00:00:00.000001 UTC')",
        "NAMED_STRUCT('a.b', 'x', 'c', TIMESTAMP '2026-01-01 00:00:00.000002 UTC')",
        "NAMED_STRUCT('a.b', CAST(NULL AS STRING), 'c', TIMESTAMP '2026-01-01 00:00:00.000001 UTC')",
        "CAST(NULL AS STRUCT<`a.b`: STRING, c: TIMESTAMP>)",
    ],
    "nested": ["ARRAY(MAP('k', ARRAY(X'00')))", "ARRAY(MAP('k', ARRAY(X'01')))", "ARRAY(MAP('k', ARRAY(X'00', NULL)))"],
    "variant": ["PARSE_JSON('{\"a\": 1}')", "PARSE_JSON('{\"a\": 2}')", "PARSE_JSON('[1]')", "PARSE_JSON('null')"],
    "boolean": ["true", "false", "CAST(NULL AS BOOLEAN)"],
    "date": ["DATE '2026-01-01'", "DATE '0001-01-01'", "CAST(NULL AS DATE)"],
}
# Pairs of equal values.
EQUAL = {
    "maps in another order": ("MAP('a', 1, 'b', 2)", "MAP('b', 2, 'a', 1)"),
    "maps in structs": ("NAMED_STRUCT('m', MAP(1, 'x', 2, 'y'))", "NAMED_STRUCT('m', MAP(2, 'y', 1, 'x'))"),
    "one instant": ("TIMESTAMP '2026-01-01 01:00:00+01:00'", "TIMESTAMP '2026-01-01 00:00:00+00:00'"),
    "variants in another order": ('PARSE_JSON(\'{"a": 1, "b": 2}\')', 'PARSE_JSON(\'{"b": 2, "a": 1}\')'),
}


def hashes(spark: SparkSession, values: list[str]) -> list[str]:
    rows = spark.sql(" UNION ALL ".join(f"SELECT {number} AS n, {value} AS p" for number, value in enumerate(values)))
    payload = [field for field in rows.schema if field.name == "p"]
    return [row.hash for row in rows.select("n", payload_hash(payload).alias("hash")).orderBy("n").collect()]


@pytest.mark.parametrize("kind", DIFFERENT)
def test_values_that_differ_have_different_hashes(spark: SparkSession, kind: str) -> None:
    found = hashes(spark, DIFFERENT[kind])
    assert None not in found
    assert len(set(found)) == len(DIFFERENT[kind])


@pytest.mark.parametrize("kind", EQUAL)
def test_equal_values_have_the_same_hash(spark: SparkSession, kind: str) -> None:
    (one, other) = hashes(spark, list(EQUAL[kind]))
    assert one == other


def test_the_time_zone_of_the_session_plays_no_part(spark: SparkSession) -> None:
    kinds = ("timestamp", "timestamp_ntz", "date", "struct")
    before = [hashes(spark, DIFFERENT[kind]) for kind in kinds]
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    try:
        assert [hashes(spark, DIFFERENT[kind]) for kind in kinds] == before
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


def test_strings_and_numbers_are_hashed_as_they_always_were(spark: SparkSession) -> None:
    rows = spark.sql("SELECT 'x' AS a, 1 AS b, CAST(NULL AS STRING) AS c")
    found = rows.select(payload_hash(rows.schema.fields).alias("hash")).collect()[0].hash
    # The SHA-256 of {"a":"x","b":1,"c":null}.
    assert found == "1ed7bae5cde32e65f5353115a29f96d119afb00dd09baa21fc34ea69cc06a2d8"
