"""The rows of a source, format by format."""

from collections.abc import Callable, Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DataType

from schemas.documents import DOCUMENTS
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.csv_rows import read_csv
from spark_jobs.sources.files import read_files
from spark_jobs.sources.json_rows import read_json
from spark_jobs.sources.typed_rows import read_typed

_READERS = {"files": read_files, "csv": read_csv, "parquet": read_typed, "orc": read_typed}


def read_rows(
    spark: SparkSession, source: SourceSettings, version: int | None, known: Callable[[], Mapping[str, DataType]]
) -> tuple[DataFrame, tuple[str, ...]]:
    """Reads a source as it was written, at a version if it has versions.

    Args:
        spark: A live session.
        source: The source's settings.
        version: Version of a Delta source.
        known: Finds the types of the space's columns by name; asked for JSON alone, whose files have no types.

    Returns:
        The rows, and the payload columns that have the space's types because no row has a value of them.
    """
    if source.format == "json":
        return read_json(spark, source, known)
    read = _READERS.get(source.format)
    if read is not None:
        return read(spark, source), ()
    # Of files that are parsed, the options are those of their folder.
    reader = spark.read.options(**({} if source.is_parsed else source.options))
    if version is not None:
        reader = reader.option("versionAsOf", version)
    if source.format == "documents" and source.table is None:
        # Nothing has been parsed yet.
        return spark.createDataFrame([], DOCUMENTS.schema), ()
    if source.table is not None:
        return reader.table(source.table), ()
    return reader.format("delta").load(source.path or ""), ()
