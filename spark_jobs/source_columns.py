"""Whether a source has the columns that the settings name, with types and names that the tables can take."""

from pyspark.sql.types import IntegralType, NullType, StringType, StructField

from schemas.table import clashing
from schemas.vectors import vectors_table
from spark_jobs.settings_sections import SourceSettings

# Delta's own rule for column names without column mapping; a backtick breaks its change feed.
_BAD_CHARACTERS = " ,;{}()\n\t=`"
_RESERVED = {"_change_type", "_commit_version", "_commit_timestamp", "_operation", "_payload_changed"}


def column_faults(source: SourceSettings, fields: dict[str, StructField]) -> list[str]:
    """Finds what is wrong with a source's columns.

    Args:
        source: Format, place and columns.
        fields: The source's columns by name.

    Returns:
        One sentence for each fault.
    """
    return _missing(source, list(fields)) or [*_wrong_types(source, fields), *_clashes(source)]


def _missing(source: SourceSettings, names: list[str]) -> list[str]:
    if not names:
        return ["has no columns: it is empty, or its format is another"]
    wanted = [
        ("id_column", source.id_name),
        *(("text_columns", name) for name in source.text_names),
        *(("payload_columns", name) for name in source.payload_columns),
    ]
    return [
        f"has no column {name!r} that source.{key} names; it has {', '.join(map(repr, names))}"
        for key, name in wanted
        if name not in names
    ]


def _wrong_types(source: SourceSettings, fields: dict[str, StructField]) -> list[str]:
    id_field = fields[source.id_name]
    faults = []
    if not isinstance(id_field.dataType, StringType | IntegralType):
        faults.append(
            f"id column {id_field.name!r} is {id_field.dataType.simpleString()}: ids are strings or whole numbers; "
            "cast it in a view"
        )
    faults += [
        f"text column {name!r} is {fields[name].dataType.simpleString()}, not string: cast it in a view"
        for name in source.text_names
        if not isinstance(fields[name].dataType, StringType)
    ]
    return faults + [
        f"payload column {name!r} has no type (only nulls): leave it out or cast it in a view"
        for name in source.payload_columns
        if isinstance(fields[name].dataType, NullType)
    ]


def _clashes(source: SourceSettings) -> list[str]:
    names = source.payload_columns
    clashes = {*clashing(names, vectors_table().schema.fields), *(n for n in names if n.lower() in _RESERVED)}
    faults = [
        f"payload column {name!r} clashes with a column of vectors: rename it in a view" for name in sorted(clashes)
    ]
    return faults + [
        f"payload column {name!r} has a character that Delta does not take in names (one of {_BAD_CHARACTERS!r}): "
        "rename it in a view"
        for name in names
        if set(name) & set(_BAD_CHARACTERS)
    ]
