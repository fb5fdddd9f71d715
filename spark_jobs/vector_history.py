"""`vectors` at one version, and what changed in it since an earlier one, from the table's own change feed."""

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.conform import quoted
from spark_jobs.feed import arrives, newest_changes
from spark_jobs.places import Place
from spark_jobs.versions import newest_version, read_pinned


@dataclass(frozen=True, slots=True)
class Pinned:
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


def pin_vectors(spark: SparkSession, place: Place) -> Pinned:
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
    return Pinned(rows, version, str(detail.id), rows.count())


def changes_since(spark: SparkSession, place: Place, pinned: Pinned, version: int) -> tuple[DataFrame, DataFrame]:
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
