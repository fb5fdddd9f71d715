"""The rows of a source, format by format."""

from pyspark.sql import DataFrame, SparkSession

from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.csv_rows import read_csv
from spark_jobs.sources.files import read_files
from spark_jobs.sources.json_rows import read_json
from spark_jobs.sources.typed_rows import read_typed

_READERS = {"files": read_files, "csv": read_csv, "json": read_json, "parquet": read_typed, "orc": read_typed}


def read_rows(spark: SparkSession, source: SourceSettings, version: int | None) -> DataFrame:
    """Reads a source as it was written, at a version if it has versions."""
    read = _READERS.get(source.format)
    if read is not None:
        return read(spark, source)
    reader = spark.read.options(**source.options)
    if version is not None:
        reader = reader.option("versionAsOf", version)
    if source.format == "table":
        return reader.table(source.table or "")
    return reader.format("delta").load(source.path or "")
