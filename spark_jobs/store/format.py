"""The format of a store's tables: the number they carry, and the columns that an earlier version's tables get."""

from collections.abc import Sequence

from pyspark.sql import SparkSession

from schemas.format import FORMAT, FORMAT_PROPERTY
from schemas.table import MissingField, quoted


def format_of(spark: SparkSession, name: str) -> int:
    """Reads the format of a table, given by its quoted name; tables without a number have format 1."""
    # Not filtered by Spark, for which that would be a job.
    properties = {row.key: row.value for row in spark.sql(f"SHOW TBLPROPERTIES {name}").collect()}
    return int(properties.get(FORMAT_PROPERTY, 1))


def raise_format(spark: SparkSession, name: str) -> None:
    """Gives a table the number of this version's format, unless it has that or a higher one."""
    if format_of(spark, name) < FORMAT:
        spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('{FORMAT_PROPERTY}' = '{FORMAT}')")


def add_fields(spark: SparkSession, name: str, missing: Sequence[MissingField]) -> None:
    """Adds fields to a table, each where a new table has it; stored rows have null there."""
    spark.sql(f"ALTER TABLE {name} ADD COLUMNS ({', '.join(map(_definition, missing))})")
    raise_format(spark, name)


def _definition(missing: MissingField) -> str:
    path = ".".join(map(quoted, (*missing.parents, missing.field.name)))
    place = "FIRST" if missing.after is None else f"AFTER {quoted(missing.after)}"
    comment = missing.field.metadata.get("comment")
    told = f"COMMENT {_text(comment)}" if comment else ""
    return f"{path} {missing.field.dataType.simpleString()} {told} {place}"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
