"""A folder of text files as a source: each file is a document."""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.settings.sections import SourceSettings


def read_files(spark: SparkSession, source: SourceSettings) -> DataFrame:
    """Reads each file below the source's path as one row: path, text, size, modified."""
    options = {"recursiveFileLookup": "true", **source.options}
    files = spark.read.format("binaryFile").options(**options).load(source.path)
    root = (source.path or "").split("://", 1)[-1].split(":", 1)[-1].rstrip("/") + "/"
    start = F.locate(root, F.col("path")) + len(root)
    return files.select(
        F.expr("path").substr(start, F.length("path")).alias("path"),
        # Raw bytes: `as_documents` checks whether they are UTF-8.
        F.col("content").cast("string").alias("text"),
        F.col("length").alias("size"),
        F.col("modificationTime").alias("modified"),
    )
