"""Tables of the store at one version."""

from pyspark.sql import DataFrame, SparkSession

from spark_jobs.places import Place


def newest_version(spark: SparkSession, place: Place, table: str) -> int:
    """Asks a table for its version.

    Args:
        spark: The live session.
        place: Where the tables lie.
        table: Last part of its name.

    Returns:
        The newest.
    """
    return int(spark.sql(f"DESCRIBE HISTORY {place.name(table)} LIMIT 1").collect()[0].version)


def read_pinned(spark: SparkSession, place: Place, table: str, version: int | None = None) -> DataFrame:
    """Reads a table as it is now, however often the rows are read and whatever is committed meanwhile.

    Args:
        spark: The live session.
        place: Where the tables lie.
        table: Last part of its name.
        version: An earlier version; what is the newest at the time of the call where None.

    Returns:
        The rows of that version.
    """
    pinned = newest_version(spark, place, table) if version is None else version
    return spark.read.option("versionAsOf", pinned).table(place.name(table))
