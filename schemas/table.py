"""A table's name, comment and columns in one value."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql.types import DataType, StructField, StructType


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
