"""Tables of the store at one version."""

from pyspark.sql import Column
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import SparkSession
from spark_jobs.store.tables import TableLocation
from dataclasses import dataclass
from schemas.table import quoted

def newest_changes(changes: DataFrame, identity: Column, wanted: Column) -> DataFrame:
    """Finds the newest change of each id in rows of a change feed.

    Args:
        changes: Rows of a change feed.
        identity: The id, under the name that it shall have.
        wanted: What is wanted of the newest change.

    Returns:
        The id, `row` (what is wanted of its newest change) and `was_there`: whether the id had a row before its first
        change.
    """
    # Within one version a row that left and a row that came under the same id are a replacement.
    order = F.struct("_commit_version", arrives())
    return changes.groupBy(identity).agg(
        F.max_by(wanted, order).alias("row"), F.min_by(~arrives(), order).alias("was_there")
    )


def arrives() -> Column:
    """Tells of a row of a change feed whether it is in the table after the change.

    Returns:
        A condition; false for rows that were deleted and for what a row was before an update.
    """
    return F.col("_change_type").isin("insert", "update_postimage")


def newest_version(spark: SparkSession, place: TableLocation, table: str) -> int:
    """Asks a table for its version.

    Args:
        spark: The live session.
        place: Where the tables lie.
        table: Last part of its name.

    Returns:
        The newest.
    """
    return int(spark.sql(f"DESCRIBE HISTORY {place.name(table)} LIMIT 1").collect()[0].version)


def read_pinned(spark: SparkSession, place: TableLocation, table: str, version: int | None = None) -> DataFrame:
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


@dataclass(frozen=True, slots=True)
class PinnedVectors:
    """The table of vectors at one version.

    Attributes:
        rows: Its rows, however often they are read.
        version: That version.
        table_id: Delta's id of the table, which another table under the same name would not have.
        count: Number of rows.
    """

    rows: DataFrame
    version: int
    table_id: str
    count: int


def pin_vectors(spark: SparkSession, place: TableLocation) -> PinnedVectors:
    """Pins the table of vectors as it is now.

    Args:
        spark: The live session.
        place: Where the tables of the space lie.

    Returns:
        The table at its newest version.
    """
    detail = spark.sql(f"DESCRIBE DETAIL {place.name('vectors')}").select("id").collect()[0]
    version = newest_version(spark, place, "vectors")
    rows = read_pinned(spark, place, "vectors", version)
    # Counted from Delta's log: no file is read.
    return PinnedVectors(rows, version, str(detail.id), rows.count())


def changes_since(spark: SparkSession, place: TableLocation, pinned: PinnedVectors, version: int) -> tuple[DataFrame, DataFrame]:
    """Reads what the change feed tells between two versions: the end of it, not the way there.

    Args:
        spark: The live session.
        place: Where the tables of the space lie.
        pinned: The table at the last version whose changes count.
        version: An earlier version; what was changed after it counts.

    Returns:
        Rows of `vectors` that are new or have a new state, as they are at the last version; and the ids (`chunk_id`)
        of those that were there at the earlier version and are not any more.
    """
    reader = spark.read.option("readChangeFeed", "true").option("startingVersion", version + 1)
    changes = reader.option("endingVersion", pinned.version).table(place.name("vectors"))
    end = F.struct("_commit_version", arrives().alias("arrives"))
    newest = newest_changes(changes, F.col("chunk_id"), end).select("chunk_id", "row.*", "was_there")
    # Ids alone are grouped: vectors go from the files to their reader, and through no shuffle.
    here = newest.where("arrives").select("chunk_id", "_commit_version")
    rows = changes.where(arrives()).join(here, ["chunk_id", "_commit_version"], "left_semi")
    gone = newest.where(~F.col("arrives") & F.col("was_there")).select("chunk_id")
    return rows.select([F.col(quoted(name)) for name in pinned.rows.columns]), gone
