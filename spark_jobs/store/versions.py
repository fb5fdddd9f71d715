"""Tables of the store at one version, and what changed between two versions."""

from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.table import quoted
from spark_jobs.store.tables import SpaceTables, as_of_today


def newest_changes(changes: DataFrame, identity: Column, state: Column) -> DataFrame:
    """Finds the newest change of each id in rows of a change feed.

    Args:
        changes: Rows of a change feed.
        identity: The id, named as in the result.
        state: What to keep of the newest change.

    Returns:
        The id, `row` (the state of its newest change) and `was_there`: whether the id had a row before its first
        change.
    """
    # Within one version, a row that left and a row that came under the same id are a replacement.
    order = F.struct("_commit_version", arrives())
    return changes.groupBy(identity).agg(
        F.max_by(state, order).alias("row"), F.min_by(~arrives(), order).alias("was_there")
    )


def arrives() -> Column:
    """Builds the condition that a row of a change feed is in the table after its change.

    Returns:
        A column; false for deleted rows and for rows as they were before an update.
    """
    return F.col("_change_type").isin("insert", "update_postimage")


def newest_version(tables: SpaceTables, table: str) -> int:
    """Finds the newest version of a table."""
    return int(tables.spark.sql(f"DESCRIBE HISTORY {tables.name(table)} LIMIT 1").collect()[0].version)


def read_pinned(tables: SpaceTables, table: str, version: int | None = None) -> DataFrame:
    """Pins a table's version: every pass over the rows sees the same one, whatever is committed meanwhile.

    Without a version, that is the newest one at the time of the call.
    """
    pinned = newest_version(tables, table) if version is None else version
    return as_of_today(tables.spark.read.option("versionAsOf", pinned).table(tables.name(table)), table)


@dataclass(frozen=True)
class TableSize:
    """How large a table is in its current version."""

    rows: int
    files: int
    bytes: int

    def __str__(self) -> str:
        """Renders the size in one line."""
        return f"{self.rows:,} rows in {self.files:,} files of {self.bytes / 1e6:,.1f} MB"


def size_of(tables: SpaceTables, table: str) -> TableSize:
    """Asks Delta's log how large a table is; it must exist."""
    detail = tables.spark.sql(f"DESCRIBE DETAIL {tables.name(table)}").select("numFiles", "sizeInBytes").collect()[0]
    return TableSize(tables.read(table).count(), detail.numFiles, detail.sizeInBytes)


@dataclass(frozen=True)
class PinnedVectors:
    """The `vectors` table at one version; `rows` are the same however often they are read."""

    tables: SpaceTables
    rows: DataFrame
    version: int

    @cached_property
    def table_id(self) -> str:
        """Delta's id of the table; a different table under the same name would have its own."""
        detail = self.tables.spark.sql(f"DESCRIBE DETAIL {self.tables.name('vectors')}")
        return str(detail.select("id").collect()[0].id)

    @cached_property
    def count(self) -> int:
        """Number of rows, from Delta's log; no data file is read."""
        return self.rows.count()


def pin_vectors(tables: SpaceTables) -> PinnedVectors:
    """Pins the `vectors` table at its newest version."""
    version = newest_version(tables, "vectors")
    return PinnedVectors(tables, read_pinned(tables, "vectors", version), version)


def changes_since(tables: SpaceTables, pinned: PinnedVectors, version: int) -> tuple[DataFrame, DataFrame]:
    """Reads from the change feed how `vectors` differs between two versions; what changed in between does not show.

    Args:
        tables: The space's tables.
        pinned: The table at the later version.
        version: The earlier version; changes after it count.

    Returns:
        Rows that are new or changed, as they are at the later version; and the ids (`chunk_id`) of rows that existed at
        the earlier version and no longer do.
    """
    reader = tables.spark.read.option("readChangeFeed", "true").option("startingVersion", version + 1)
    changes = reader.option("endingVersion", pinned.version).table(tables.name("vectors"))
    end = F.struct("_commit_version", arrives().alias("arrives"))
    newest = newest_changes(changes, F.col("chunk_id"), end).select("chunk_id", "row.*", "was_there")
    # Only ids are grouped: vectors go straight from the files to their reader, without a shuffle.
    here = newest.where("arrives").select("chunk_id", "_commit_version")
    rows = changes.where(arrives()).join(here, ["chunk_id", "_commit_version"], "left_semi")
    gone = newest.where(~F.col("arrives") & F.col("was_there")).select("chunk_id")
    return rows.select([F.col(quoted(name)) for name in pinned.rows.columns]), gone
