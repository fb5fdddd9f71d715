"""Tables of the store at one version."""

from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.table import quoted
from spark_jobs.store.tables import SpaceTables


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


def newest_version(tables: SpaceTables, table: str) -> int:
    """Asks a table for its version.

    Args:
        tables: The space's tables.
        table: Last part of its name.

    Returns:
        The newest.
    """
    return int(tables.spark.sql(f"DESCRIBE HISTORY {tables.name(table)} LIMIT 1").collect()[0].version)


def read_pinned(tables: SpaceTables, table: str, version: int | None = None) -> DataFrame:
    """Reads a table as it is now, however often the rows are read and whatever is committed meanwhile.

    Args:
        tables: The space's tables.
        table: Last part of its name.
        version: An earlier version; what is the newest at the time of the call where None.

    Returns:
        The rows of that version.
    """
    pinned = newest_version(tables, table) if version is None else version
    return tables.spark.read.option("versionAsOf", pinned).table(tables.name(table))


@dataclass(frozen=True)
class PinnedVectors:
    """The table of vectors at one version.

    Attributes:
        tables: The space's tables.
        rows: Its rows, however often they are read.
        version: That version.
    """

    tables: SpaceTables
    rows: DataFrame
    version: int

    @cached_property
    def table_id(self) -> str:
        """Delta's id of the table, which another table under the same name would not have."""
        detail = self.tables.spark.sql(f"DESCRIBE DETAIL {self.tables.name('vectors')}")
        return str(detail.select("id").collect()[0].id)

    @cached_property
    def count(self) -> int:
        """Number of rows; counted from Delta's log, no file is read."""
        return self.rows.count()


def pin_vectors(tables: SpaceTables) -> PinnedVectors:
    """Pins the table of vectors at its newest version."""
    version = newest_version(tables, "vectors")
    return PinnedVectors(tables, read_pinned(tables, "vectors", version), version)


def changes_since(tables: SpaceTables, pinned: PinnedVectors, version: int) -> tuple[DataFrame, DataFrame]:
    """Reads what the change feed tells between two versions: the end of it, not the way there.

    Args:
        tables: The space's tables.
        pinned: The table at the last version whose changes count.
        version: An earlier version; what was changed after it counts.

    Returns:
        Rows of `vectors` that are new or have a new state, as they are at the last version; and the ids (`chunk_id`)
        of those that were there at the earlier version and are not any more.
    """
    reader = tables.spark.read.option("readChangeFeed", "true").option("startingVersion", version + 1)
    changes = reader.option("endingVersion", pinned.version).table(tables.name("vectors"))
    end = F.struct("_commit_version", arrives().alias("arrives"))
    newest = newest_changes(changes, F.col("chunk_id"), end).select("chunk_id", "row.*", "was_there")
    # Ids alone are grouped: vectors go from the files to their reader, and through no shuffle.
    here = newest.where("arrives").select("chunk_id", "_commit_version")
    rows = changes.where(arrives()).join(here, ["chunk_id", "_commit_version"], "left_semi")
    gone = newest.where(~F.col("arrives") & F.col("was_there")).select("chunk_id")
    return rows.select([F.col(quoted(name)) for name in pinned.rows.columns]), gone
