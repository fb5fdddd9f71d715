"""What is wrong with a source's columns, found from their names and types alone."""

import pytest
from pyspark.sql.types import ArrayType, DataType, IntegerType, MapType, NullType, StringType, StructField, StructType

from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.columns import column_faults

TEXT, NUMBER, VOID = StringType(), IntegerType(), NullType()
BAD = "whose name has a character that Delta does not accept in names"
UNTYPED = "without a type (only nulls)"


def struct(**types: DataType) -> StructType:
    return StructType([StructField(name, kind) for name, kind in types.items()])


def faults(meta: DataType, payload: list[str]) -> list[str]:
    columns = {"id_column": "id", "text_columns": ["text"], "payload_columns": payload, "format": "json", "path": "/x"}
    fields = struct(id=TEXT, text=TEXT, meta=meta)
    return column_faults(SourceSettings.model_validate(columns), {field.name: field for field in fields})


@pytest.mark.parametrize(
    ("meta", "path", "fault"),
    [
        (struct(**{"two words": TEXT}), "meta.two words", BAD),
        (struct(a=struct(**{"b=c": NUMBER})), "meta.a.b=c", BAD),
        (ArrayType(struct(**{"x;y": NUMBER})), "meta.element.x;y", BAD),
        (MapType(TEXT, struct(**{"x,y": NUMBER})), "meta.value.x,y", BAD),
        (struct(a=VOID), "meta.a", UNTYPED),
        (ArrayType(VOID), "meta.element", UNTYPED),
        (struct(a=MapType(TEXT, VOID)), "meta.a.value", UNTYPED),
    ],
)
def test_fields_that_delta_refuses_are_named_by_their_path(meta: DataType, path: str, fault: str) -> None:
    (found,) = faults(meta, ["meta"])
    assert found.startswith(f"payload column 'meta' has the field {path!r}") and fault in found


def test_fields_that_delta_takes_are_no_fault() -> None:
    deep = ArrayType(struct(d=MapType(TEXT, NUMBER)))
    assert faults(struct(**{"a.b": TEXT, "c": deep}), ["meta"]) == []
    # Columns that are not stored may have fields of any name and type.
    assert faults(struct(**{"two words": VOID}), []) == []


def test_a_csv_without_a_header_is_refused_without_its_first_row() -> None:
    columns = {"id_column": "id", "text_columns": ["text"], "format": "csv", "path": "/x"}

    def found(*names: str) -> list[str]:
        fields = {name: StructField(name, TEXT) for name in names}
        return column_faults(SourceSettings.model_validate(columns), fields)

    assert found("1", "Maria") == [
        "its first line is no header with the columns 'id', 'text'. Write one, or set source.options.header to false "
        "and name the columns _c0, _c1 and so on."
    ]
    assert found("id", "Text") == [
        "it has no column 'text', which source.text_columns names. Its columns are 'id', 'Text'."
    ]
    assert found("_c0", "_c1")[0].endswith("Its columns are '_c0', '_c1'.")
