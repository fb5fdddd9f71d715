"""Parquet and ORC as a source: names of folders as they are written, and columns that nobody named do no harm."""

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from schemas.table import quoted
from spark_jobs.runtime.properties import session_properties
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.location import as_written, load_path

_NANOSECONDS = "spark.sql.legacy.parquet.nanosAsLong"


def read_typed(spark: SparkSession, source: SourceSettings) -> DataFrame:
    """Reads files that have types of their own.

    Args:
        spark: A live session.
        source: The source's settings.

    Returns:
        Columns of the files and of folder names. Timestamps in nanoseconds are whole numbers, counted from 1970.
    """
    path = load_path(source.path or "")
    reader = spark.read.format(source.format).options(**source.options)
    try:
        rows = reader.load(path)
        schema = rows.schema
    except PySparkException as error:
        if "TIMESTAMP(NANOS" not in str(error):
            raise
        with session_properties(spark, {_NANOSECONDS: "true"}):
            schema = reader.load(path).schema
        rows = reader.schema(schema).load(path)
    texts = _folder_names(spark, source, path, schema)
    if texts:
        rows = reader.schema(StructType(as_written(schema, texts))).load(path)
    return _with_empty_texts(rows, source)


def _folder_names(spark: SparkSession, source: SourceSettings, path: str, schema: StructType) -> set[str]:
    """Finds the columns that the settings name, that folder names hold, and that Spark would not read as strings."""
    others = {
        field.name
        for field in schema
        if field.name in source.named_columns and not isinstance(field.dataType, StringType)
    }
    # As lines of text, the files have only one column that is not from the names of folders.
    return others.intersection(
        spark.read.format("text").options(**source.options).load(path).columns[1:] if others else ()
    )


def _with_empty_texts(rows: DataFrame, source: SourceSettings) -> DataFrame:
    """Makes strings of text columns without a value: pandas and Arrow give these the type null, which Spark lacks."""
    types = {field.name: field.dataType for field in rows.schema}
    others = [name for name in source.text_names if not isinstance(types.get(name, StringType()), StringType)]
    if not others:
        return rows
    values = rows.agg(*[F.count(F.col(quoted(name))) for name in others]).collect()[0]
    empty = [name for name, count in zip(others, values, strict=True) if not count]
    return rows.withColumns({name: F.lit(None).cast("string") for name in empty}) if empty else rows
