"""The check that a DataFrame is what a table expects."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from schemas.errors import InputError


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
