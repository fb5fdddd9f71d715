"""Payload columns of JSON, whose files have no types: they are read with those of the space where no value is lost."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import ArrayType, DataType, DecimalType, DoubleType, LongType, StructField, StructType

from spark_jobs.settings.sections import SourceSettings

_LONG_DIGITS = 19


def with_known_types(
    spark: SparkSession, source: SourceSettings, rows: DataFrame, known: Mapping[str, DataType]
) -> tuple[DataFrame, tuple[str, ...]]:
    """Gives payload columns the types that the space has for them.

    Spark infers types from the values of one delivery: a column of which no row has a value is not there or is a
    string, and one of decimals is one of whole numbers if none has a fraction today.

    Args:
        spark: The live session.
        source: Settings of a JSON source.
        rows: Its rows as Spark infers them.
        known: Types of the space's columns by name; empty for a new space.

    Returns:
        The rows, in which such columns have the space's types, and the names of the columns that no row has a value
        of. A column with other values than the space's type can hold stays as it is, and is refused later.
    """
    found = {field.name: field.dataType for field in rows.schema}
    differing = [name for name in source.payload_columns if name in known and found.get(name) != known[name]]
    # Nothing is known of files without rows, and two names that differ by case would be one column.
    if (
        not found
        or not differing
        or {name.lower() for name in differing} & {name.lower() for name in found if name not in differing}
    ):
        return rows, ()
    reader = spark.read.options(**{**source.options, "dropFieldIfAllNull": "true"})
    valued = {field.name: field.dataType for field in reader.format("json").load(source.path).schema}
    absent = tuple(name for name in differing if name not in valued)
    taken = {name: known[name] for name in differing if name in absent or holds(known[name], valued[name])}
    schema = StructType([StructField(name, kind) for name, kind in {**found, **taken}.items()])
    return spark.read.options(**source.options).schema(schema).format("json").load(source.path), absent


def holds(known: DataType, found: DataType) -> bool:
    """Tells whether every JSON value of a type can be read as another type without losing anything.

    Args:
        known: The type to read as.
        found: The type that Spark infers, without fields that have no value.

    Returns:
        Whether this is what Spark would infer from values of both types together.

    Example:
        >>> holds(DoubleType(), LongType()), holds(LongType(), DoubleType())
        (True, False)
    """
    if isinstance(known, StructType) and isinstance(found, StructType):
        kinds = {field.name: field.dataType for field in known}
        return all(field.name in kinds and holds(kinds[field.name], field.dataType) for field in found)
    if isinstance(known, ArrayType) and isinstance(found, ArrayType):
        return holds(known.elementType, found.elementType)
    if isinstance(known, DecimalType) and isinstance(found, DecimalType | LongType):
        digits, scale = (_LONG_DIGITS, 0) if isinstance(found, LongType) else (found.precision, found.scale)
        return known.scale >= scale and known.precision - known.scale >= digits - scale
    return known == found or (isinstance(known, DoubleType) and isinstance(found, LongType))
