"""Rows that the driver holds, for work that is too small for a table of its own."""

from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType

from schemas.table import quoted
from spark_jobs.runtime.threads import together


def in_memory(rows: DataFrame) -> DataFrame:
    """Evaluates rows once and keeps them on the driver: however often they are used, they stay the same.

    Args:
        rows: Rows whose number does not grow with the library.

    Returns:
        The same rows, as part of every query that uses them.
    """
    spark: SparkSession = rows.sparkSession
    # Arrow takes no null for a struct whose fields cannot be null.
    kinds = {field.name: _nullable(field.dataType) for field in rows.schema}
    columns = [F.col(quoted(name)).cast(kind).alias(name) for name, kind in kinds.items()]
    schema = StructType([StructField(name, kind) for name, kind in kinds.items()])
    return spark.createDataFrame(rows.select(columns).toArrow(), schema)


def each_in_memory(*frames: DataFrame) -> list[DataFrame]:
    """Applies `in_memory` to several DataFrames at the same time."""
    held = list(frames)

    def hold(place: int) -> None:
        held[place] = in_memory(frames[place])

    together(frames[0].sparkSession, [partial(hold, place) for place in range(len(frames))])
    return held


def _nullable(kind: DataType) -> DataType:
    if isinstance(kind, StructType):
        return StructType([StructField(field.name, _nullable(field.dataType)) for field in kind])
    if isinstance(kind, ArrayType):
        return ArrayType(_nullable(kind.elementType))
    if isinstance(kind, MapType):
        return MapType(_nullable(kind.keyType), _nullable(kind.valueType))
    return kind
