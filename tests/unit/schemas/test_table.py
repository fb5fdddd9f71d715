"""Names of tables are split as Spark splits them, and the columns that a table lacks are found."""

import pytest
from pyspark.sql.types import (
    ArrayType,
    DataType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from schemas.table import Table, column, completed, discrepancies, missing_fields, name_parts, quoted, sql_type
from schemas.vectors import KEY_AND_TEXT, vectors_table


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("t", ["t"]),
        ("cat.schema.t", ["cat", "schema", "t"]),
        ("cat.`my.schema`.t", ["cat", "my.schema", "t"]),
        ("`a.b`.`c.d`.`e.f`", ["a.b", "c.d", "e.f"]),
        ("`a``.b`.t", ["a`.b", "t"]),
        ("````", ["`"]),
        ("delta.`/data/my.lake/t`", ["delta", "/data/my.lake/t"]),
        (" cat . `my schema` . t ", ["cat", "my schema", "t"]),
    ],
)
def test_a_name_is_split_at_dots_outside_backticks(name: str, parts: list[str]) -> None:
    assert name_parts(name) == parts
    assert name_parts(".".join(map(quoted, parts))) == parts


@pytest.mark.parametrize("name", ["", ".", "a..b", ".a", "a.", "`a", "a`b", "`a`b", "``", "a b", "a.`b`c.d"])
def test_what_is_no_name_of_a_table_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a table"):
        name_parts(name)


@pytest.mark.parametrize(
    ("data_type", "text"),
    [
        (StringType(), "string"),
        (StringType("UNICODE"), "string collate UNICODE"),
        (ArrayType(FloatType()), "array<float>"),
        (MapType(StringType(), ArrayType(LongType())), "map<string, array<bigint>>"),
        (
            StructType().add("a b", "string").add("c`d", StructType().add("e", IntegerType())),
            "struct<`a b`: string, `c``d`: struct<`e`: int>>",
        ),
    ],
)
def test_a_type_is_written_as_sql_reads_it(data_type: DataType, text: str) -> None:
    assert sql_type(data_type) == text


def test_missing_fields_are_found_inside_structs_and_in_their_place() -> None:
    inner = StructType([column("a", LongType(), "a"), column("b", LongType(), "b")])
    table = Table("t", "x", StructType([column("id", StringType(), "id"), column("n", IntegerType(), "n")]))
    nested = Table("t", "x", StructType([*table.schema.fields, column("s", inner, "s")]))
    assert missing_fields(table.schema, table) == []
    found = missing_fields(StructType([StructField("s", StructType([StructField("b", LongType())]))]), nested)
    assert [(each.name, each.after) for each in found] == [("id", None), ("n", "id"), ("s.a", None)]
    outside = StructType([StructField("z", LongType()), StructField("s", StructType([StructField("b", LongType())]))])
    assert completed(outside, nested).simpleString() == "struct<id:string,n:int,s:struct<a:bigint,b:bigint>,z:bigint>"
    # Columns that nobody asked for, and those of another type, are no business of this function.
    assert missing_fields(StructType([StructField("id", LongType()), StructField("z", LongType())]), table) == [
        *missing_fields(StructType([StructField("id", StringType())]), table)
    ]


def test_columns_of_the_source_are_never_added() -> None:
    whole = vectors_table([StructField("tags", StringType()), StructField("n", LongType())])
    without = StructType([field for field in whole.schema if field.name not in ("tags", KEY_AND_TEXT[0].name)])
    assert [each.name for each in missing_fields(without, whole)] == ["chunk_id"]
    assert discrepancies(completed(without, whole), whole.schema) == ["column tags (string) is missing"]
