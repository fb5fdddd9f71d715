"""What is wrong with a source's columns; no Spark session."""

from collections.abc import Sequence

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    IntegralType,
    MapType,
    NullType,
    StringType,
    StructField,
    StructType,
)

from schemas.table import clashing
from schemas.vectors import vectors_table
from spark_jobs.settings.sections import SourceSettings

# Delta's own rule for column names without column mapping; a backtick breaks its change feed.
_BAD_CHARACTERS = " ,;{}()\n\t=`"
_RESERVED = {"_change_type", "_commit_version", "_commit_timestamp", "_operation", "_payload_changed"}


def column_faults(source: SourceSettings, fields: dict[str, StructField]) -> list[str]:
    """Describes what is wrong with a source's columns, given by name; one fault each."""
    return _missing(source, list(fields)) or [
        *_wrong_types(source, fields),
        # Further columns of `vectors` follow from the chunking rule, which is not known here.
        *name_clashes(source, vectors_table().schema.fields),
        *_bad_names(source),
        *_bad_fields(source, fields),
    ]


def _missing(source: SourceSettings, names: list[str]) -> list[str]:
    if not names:
        return ["it has no columns. Check that it is not empty and that source.format is right."]
    expected = [
        ("source.id_column", source.id_name),
        *(("source.text_columns", name) for name in source.text_names),
        *(("source.payload_columns", name) for name in source.payload_columns),
        *(("chunking.context", name) for name in source.context_columns),
    ]
    wanted = [name for _, name in expected]
    if source.format == "csv" and names[0] != "_c0" and not set(wanted) & set(names):
        return [
            f"its first line is no header with the columns {', '.join(map(repr, wanted))}. Write one, or set "
            "source.options.header to false and name the columns _c0, _c1 and so on."
        ]
    return [
        f"it has no column {name!r}, which {key} names. Its columns are {', '.join(map(repr, names))}."
        for key, name in expected
        if name not in names
    ]


def _wrong_types(source: SourceSettings, fields: dict[str, StructField]) -> list[str]:
    id_field = fields[source.id_name]
    faults = []
    if not isinstance(id_field.dataType, StringType | IntegralType):
        faults.append(
            f"id column {id_field.name!r} is {id_field.dataType.simpleString()}, but ids are strings or whole "
            "numbers. Cast it in a view."
        )
    faults += [
        f"text column {name!r} is {fields[name].dataType.simpleString()}, not string. Cast it in a view."
        for name in source.text_names
        if not isinstance(fields[name].dataType, StringType)
    ]
    faults += [
        f"column {name!r} of chunking.context is {fields[name].dataType.simpleString()}, which has no one value to put "
        "before a text. Cast it to a string in a view."
        for name in source.context_columns
        if isinstance(fields[name].dataType, ArrayType | MapType | StructType | BinaryType | NullType)
    ]
    return faults + [
        f"payload column {name!r} has no type (only nulls). Leave it out, or cast it in a view."
        for name in source.payload_columns
        if isinstance(fields[name].dataType, NullType)
    ]


def name_clashes(source: SourceSettings, own: Sequence[StructField]) -> list[str]:
    """Describes which payload columns have the names of columns that `vectors` has itself; one fault each."""
    return [
        f"payload column {name!r} clashes with a column of vectors. Rename it in a view."
        for name in sorted(clashing(source.payload_columns, own))
    ]


def _bad_names(source: SourceSettings) -> list[str]:
    names = source.payload_columns
    faults = [
        f"payload column {name!r} has a name that embedlake or Delta uses itself. Rename it in a view."
        for name in sorted(names)
        if name.lower() in _RESERVED
    ]
    return faults + [
        f"payload column {name!r} has a character that Delta does not accept in names (one of {_BAD_CHARACTERS!r}). "
        "Rename it in a view."
        for name in names
        if set(name) & set(_BAD_CHARACTERS)
    ]


def _bad_fields(source: SourceSettings, fields: dict[str, StructField]) -> list[str]:
    below = [found for name in source.payload_columns for found in _below(fields[name].dataType, (name,))]
    bad = [path for path, _ in below if set(path[-1]) & set(_BAD_CHARACTERS)]
    # Without a type of their own these columns are named above.
    untyped = [path for path, kind in below if isinstance(kind, NullType)]
    return [
        f"payload column {path[0]!r} has the field {'.'.join(path)!r}, whose name has a character that Delta does not "
        f"accept in names (one of {_BAD_CHARACTERS!r}). Rename it in a view."
        for path in bad
    ] + [
        f"payload column {path[0]!r} has the field {'.'.join(path)!r} without a type (only nulls). Leave it out, or "
        "cast it in a view."
        for path in untyped
    ]


def _below(kind: DataType, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], DataType]]:
    """Lists the paths and types of everything inside a type, however deep: fields, elements, keys and values."""
    if isinstance(kind, StructType):
        inside = [((*path, field.name), field.dataType) for field in kind]
    elif isinstance(kind, ArrayType):
        inside = [((*path, "element"), kind.elementType)]
    elif isinstance(kind, MapType):
        inside = [((*path, "key"), kind.keyType), ((*path, "value"), kind.valueType)]
    else:
        return []
    return inside + [found for each in inside for found in _below(each[1], each[0])]
