"""A table's name, comment and columns in one value."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructField, StructType

from schemas.errors import InputError


@dataclass(frozen=True)
class Table:
    """One table of a store, apart from where it lies.

    Attributes:
        name: Last part of its name, such as `vectors`.
        comment: What one row is; written to the Delta table.
        schema: Columns in stored order, each with a comment.
    """

    name: str
    comment: str
    schema: StructType


def column(name: str, data_type: DataType, comment: str) -> StructField:
    """Describes a column. All are nullable in storage: Delta drops the flag when a table is made from a query.

    Args:
        name: Column name.
        data_type: Spark type.
        comment: What the column means, with its unit; written to the Delta table.

    Returns:
        The field, with the comment where Spark and Delta look for it.
    """
    return StructField(name, data_type, True, {"comment": comment})


def clashing(names: Sequence[str], fields: Sequence[StructField]) -> list[str]:
    """Finds names that a table already uses. Spark and Delta compare column names without case.

    Args:
        names: Names somebody wants to add.
        fields: Columns the table has.

    Returns:
        The names that clash, in the order given.
    """
    taken = {field.name.lower() for field in fields}
    return [name for name in names if name.lower() in taken]


def quoted(name: str) -> str:
    """Quotes a column name, so that dots, spaces and backticks in it are plain characters.

    Args:
        name: Any column name.

    Returns:
        The name in backticks.

    Example:
        >>> quoted("a.b")
        '`a.b`'
    """
    return "`" + name.replace("`", "``") + "`"


def discrepancies(found: StructType, expected: StructType) -> list[str]:
    """Compares two schemas by name and type, whatever the order, nullability and comments.

    Args:
        found: The schema at hand.
        expected: The schema that is wanted.

    Returns:
        One sentence for each column that is missing, of another type or not expected; empty when they agree.
    """
    types = {field.name: field.dataType.simpleString() for field in found}
    wanted = {field.name: field.dataType.simpleString() for field in expected}
    faults = [f"column {name} ({kind}) is missing" for name, kind in wanted.items() if name not in types]
    faults += [
        f"column {name} is {types[name]}, expected {kind}"
        for name, kind in wanted.items()
        if name in types and types[name] != kind
    ]
    return faults + [f"column {name} ({kind}) is not expected" for name, kind in types.items() if name not in wanted]


def conform(df: DataFrame, schema: StructType) -> DataFrame:
    """Selects a table's columns in stored order.

    Args:
        df: Rows that should have exactly these columns, in any order.
        schema: Columns of the table.

    Returns:
        The rows with their columns in the schema's order.

    Raises:
        InputError: A column is missing, has another type or is not expected; all of them are named.
    """
    faults = discrepancies(df.schema, schema)
    if faults:
        raise InputError(faults)
    return df.select([F.col(quoted(name)) for name in schema.names])
