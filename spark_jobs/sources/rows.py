"""The rows of a source, format by format."""

from pyspark.sql import DataFrame, SparkSession

from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.files import read_files
from spark_jobs.sources.location import load_path


def read_rows(spark: SparkSession, source: SourceSettings, version: int | None) -> DataFrame:
    """Reads a source as it was written, at a version if it has versions."""
    if source.format == "files":
        return read_files(spark, source)
    reader = spark.read.options(**source.options)
    if version is not None:
        reader = reader.option("versionAsOf", version)
    if source.format == "table":
        return reader.table(source.table or "")
    if source.format == "csv":
        # Settings name columns, so a header is the default; `source.options` may turn it off.
        reader = spark.read.options(**{"header": "true", **source.options})
    path = source.path or ""
    return reader.format(source.format).load(path if source.format == "delta" else load_path(path))
