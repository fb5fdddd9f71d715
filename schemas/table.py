"""Table descriptions, and comparisons of actual columns with them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType

from schemas.errors import InputError

_NAME_PART = re.compile(r"\s*(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<plain>[^`.\s]+))\s*(?=\.|$)")


@dataclass(frozen=True)
class Table:
    """One table of a store, independent of its location.

    Attributes:
        name: Last part of the table's full name, such as `vectors`.
        comment: What one row represents; written to the Delta table.
        schema: Columns in stored order, each with a comment.
        from_source: Names of the columns that a source decides; None for a table that is the same for all sources.
    """

    name: str
    comment: str
    schema: StructType
    from_source: frozenset[str] | None = None


@dataclass(frozen=True)
class MissingField:
    """A column, or a field inside struct columns, that a table does not have yet.

    Attributes:
        parents: Names of the structs around it, outermost first.
        field: The field.
        after: Name of the field before it; None if it is the first one.
    """

    parents: tuple[str, ...]
    field: StructField
    after: str | None

    @property
    def name(self) -> str:
        """Its path, joined by dots."""
        return ".".join((*self.parents, self.field.name))


def column(name: str, data_type: DataType, comment: str) -> StructField:
    """Describes a column, and puts its comment where Spark and Delta look for it.

    All columns are nullable in storage: Delta drops the flag when a table is created from a query.
    """
    return StructField(name, data_type, True, {"comment": comment})


def clashing(names: Sequence[str], fields: Sequence[StructField]) -> list[str]:
    """Returns the names that a table already uses. Spark and Delta ignore the case of column names."""
    taken = {field.name.lower() for field in fields}
    return [name for name in names if name.lower() in taken]


def quoted(name: str) -> str:
    """Quotes a column name in backticks, so that dots, spaces and backticks in it are literal."""
    return "`" + name.replace("`", "``") + "`"


def name_parts(name: str) -> list[str]:
    """Splits the name of a table as Spark does: a dot within backticks is part of a name.

    Args:
        name: Name of a table, with one or more parts.

    Returns:
        The parts without their backticks.

    Raises:
        ValueError: A backtick has no partner, or a part is empty.

    Example:
        >>> name_parts("cat.`my.schema`.`a``b`")
        ['cat', 'my.schema', 'a`b']
    """
    parts, position = [], 0
    while found := _NAME_PART.match(name, position):
        quoted_part, plain = found["quoted"], found["plain"]
        parts.append(plain if quoted_part is None else quoted_part.replace("``", "`"))
        position = found.end()
        if position == len(name):
            return parts
        position += 1
    raise ValueError(
        f"{name} is not the name of a table. Write catalog.schema.table, and put a part that contains dots or other "
        "signs in backticks."
    )


def discrepancies(actual: StructType, expected: StructType) -> list[str]:
    """Returns one sentence for each column that is missing, unexpected or of a different type.

    Column order, nullability and comments are ignored.
    """
    actual_types = {field.name: field.dataType.simpleString() for field in actual}
    expected_types = {field.name: field.dataType.simpleString() for field in expected}
    faults = [f"column {name} ({kind}) is missing" for name, kind in expected_types.items() if name not in actual_types]
    faults += [
        f"column {name} is {actual_types[name]}, expected {kind}"
        for name, kind in expected_types.items()
        if name in actual_types and actual_types[name] != kind
    ]
    unexpected = {name: kind for name, kind in actual_types.items() if name not in expected_types}
    return faults + [f"column {name} ({kind}) is not expected" for name, kind in unexpected.items()]


def missing_fields(actual: StructType, table: Table) -> list[MissingField]:
    """Lists the fields that a table lacks because an earlier version of embedlake created it.

    Args:
        actual: Columns of the table as it is.
        table: The table as it should be.

    Returns:
        The fields in stored order. A column that the source decides is not among them: without it, the table belongs
        to another source.
    """
    return _missing_below(actual, table.schema, (), table.from_source or frozenset())


def _missing_below(
    actual: StructType, expected: StructType, parents: tuple[str, ...], left_out: frozenset[str]
) -> list[MissingField]:
    kinds, found, after = {field.name: field.dataType for field in actual}, [], None
    for field in expected:
        kind = kinds.get(field.name)
        if field.name in left_out:
            pass
        elif kind is None:
            found.append(MissingField(parents, field, after))
        elif isinstance(kind, StructType) and isinstance(field.dataType, StructType):
            found += _missing_below(kind, field.dataType, (*parents, field.name), frozenset())
        after = field.name
    return found


def completed(actual: StructType, table: Table) -> StructType:
    """Returns the columns that a table will have once `missing_fields` are added to it."""
    return _completed(actual, table.schema, table.from_source or frozenset())


def _completed(actual: StructType, expected: StructType, left_out: frozenset[str]) -> StructType:
    kinds, fields = {field.name: field.dataType for field in actual}, []
    for field in expected:
        kind = kinds.pop(field.name, None)
        if kind is None and field.name in left_out:
            continue
        if kind is None:
            kind = field.dataType
        elif isinstance(kind, StructType) and isinstance(field.dataType, StructType) and field.name not in left_out:
            kind = _completed(kind, field.dataType, frozenset())
        fields.append(StructField(field.name, kind))
    return StructType([*fields, *(StructField(name, kind) for name, kind in kinds.items())])


def with_missing(df: DataFrame, missing: Sequence[MissingField]) -> DataFrame:
    """Adds fields that a table does not have yet, as nulls of their type."""
    for each in missing:
        null = F.lit(None).cast(each.field.dataType)
        if each.parents:
            outer, *inner = each.parents
            path = ".".join(map(quoted, (*inner, each.field.name)))
            df = df.withColumn(outer, F.col(quoted(outer)).withField(path, null))
        else:
            df = df.withColumn(each.field.name, null)
    return df


def sql_type(data_type: DataType) -> str:
    """Writes a type as SQL does, with the names of a struct's fields in backticks.

    Args:
        data_type: The type.

    Returns:
        The words that a cast in SQL takes.

    Example:
        >>> sql_type(StructType().add("a b", "string"))
        'struct<`a b`: string>'
    """
    if isinstance(data_type, StructType):
        return f"struct<{', '.join(f'{quoted(field.name)}: {sql_type(field.dataType)}' for field in data_type)}>"
    if isinstance(data_type, ArrayType):
        return f"array<{sql_type(data_type.elementType)}>"
    if isinstance(data_type, MapType):
        return f"map<{sql_type(data_type.keyType)}, {sql_type(data_type.valueType)}>"
    return data_type.simpleString()


def with_sql_types(df: DataFrame, schema: StructType) -> DataFrame:
    """Casts columns to the types that SQL has for those of a schema, and gives them its comments."""
    return df.select(
        [
            F.col(quoted(field.name)).cast(sql_type(field.dataType)).alias(field.name, metadata=field.metadata)
            for field in schema
        ]
    )


def conform(df: DataFrame, schema: StructType) -> DataFrame:
    """Selects a table's columns in stored order.

    Args:
        df: Rows that should have exactly these columns, in any order.
        schema: Columns of the table.

    Returns:
        The rows with their columns in the schema's order.

    Raises:
        InputError: Columns are missing, unexpected or of a different type; the message names all of them.
    """
    faults = discrepancies(df.schema, schema)
    if faults:
        raise InputError(faults)
    return df.select([F.col(quoted(name)) for name in schema.names])
