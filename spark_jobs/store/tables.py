"""Where the Delta tables of a space are, and a handle that creates, reads and writes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError, SourceError
from schemas.evaluations import EVALUATIONS
from schemas.exports import EXPORTS
from schemas.runs import RUNS
from schemas.spaces import SPACES
from schemas.table import Table, discrepancies, quoted
from spark_jobs.runtime.properties import session_properties, set_properties
from spark_jobs.runtime.query_log import silent_query_log
from spark_jobs.runtime.session import require_delta
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.sections import StoreSettings
from spark_jobs.store.failpoints import boundary
from spark_jobs.store.properties import SESSION, table_properties

_STORE_WIDE = {RUNS.name, SPACES.name, EVALUATIONS.name, EXPORTS.name}
_ABSENT = {"DELTA_MISSING_DELTA_TABLE", "DELTA_PATH_DOES_NOT_EXIST", "DELTA_TABLE_NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND"}


@dataclass(frozen=True, slots=True)
class TableLocation:
    """Where the tables of one space are."""

    store: StoreSettings
    library: str
    space: str

    def name(self, table: str) -> str:
        """Returns the quoted name that SQL takes: ``delta.`<path>` `` or a three-part catalog name."""
        whole = table in _STORE_WIDE
        if self.store.path is not None:
            folder = "_embedlake" if whole else f"{self.library}/{self.space}"
            root = self.store.path.rstrip("/")
            return f"delta.{quoted(f'{root}/{folder}/{table}')}"
        return self._in_catalog(f"embedlake__{table}" if whole else f"{self.library}__{self.space}__{table}")

    @property
    def view(self) -> str | None:
        """Quoted name of the view of the library's active vectors; None for a path, which has no names."""
        return None if self.store.path is not None else self._in_catalog(f"{self.library}__vectors")

    def _in_catalog(self, name: str) -> str:
        return ".".join(quoted(part) for part in (self.store.catalog or "", self.store.schema_ or "", name))


@dataclass(frozen=True, slots=True)
class SpaceTables:
    """The tables of one space, and those of its whole store, in one session.

    Methods take the last part of a table's name, such as `vectors`.

    Attributes:
        spark: The live session, with the properties of `delta_session`.
        location: Where the tables are.
    """

    spark: SparkSession
    location: TableLocation

    def name(self, table: str) -> str:
        """Returns the table's quoted name."""
        return self.location.name(table)

    def exists(self, table: str) -> bool:
        """Returns whether the table can be read."""
        return table_exists(self.spark, self.name(table))

    def read(self, table: str) -> DataFrame:
        """Reads the table's current rows."""
        return self.spark.table(self.name(table))

    def ensure(self, table: Table) -> bool:
        """Creates a table that does not exist, and returns whether it did; refuses one with different columns."""
        name = self.name(table.name)
        try:
            if table_exists(self.spark, name):
                faults = discrepancies(self.spark.table(name).schema, table.schema)
                if faults:
                    raise SourceError(
                        f"table {name}: {fault}. Give the changed library a space of its own." for fault in faults
                    )
                return False
            writer = self.spark.createDataFrame([], table.schema).writeTo(name).using("delta")
            properties = table_properties(table.name, self.location.store.vector_encoding)
            for key, text in {**properties, "comment": table.comment}.items():
                writer = writer.tableProperty(key, text)
            with boundary("create"):
                writer.create()
            return True
        except InputError:
            raise
        except Exception as error:  # Java's I/O errors come from Py4J or PySpark
            cause = cause_of(error).rstrip(".")
            raise InputError(
                f"the store cannot be written at {name}: {cause}. Check that the job may write there."
            ) from error

    def append(self, rows: DataFrame, table: str) -> None:
        """Appends rows with the table's columns in one commit."""
        with boundary(table):
            rows.writeTo(self.name(table)).append()

    def replace(self, rows: DataFrame, table: str) -> None:
        """Replaces all rows of the table in one commit."""
        with boundary(table):
            rows.writeTo(self.name(table)).overwrite(F.lit(True))

    def empty(self, table: str) -> None:
        """Removes all rows of the table in one commit."""
        self.replace(self.spark.createDataFrame([], self.read(table).schema), table)

    def last_committers(self, table: str) -> list[str]:
        """Lists the ids of the runs that committed to the table; none if it does not exist."""
        if not self.exists(table):
            return []
        history = self.spark.sql(f"DESCRIBE HISTORY {self.name(table)}").select("userMetadata").dropna().distinct()
        return [row.userMetadata for row in history.collect()]


def location_of(settings: Settings) -> TableLocation:
    """Returns where the tables of the settings' space are."""
    return TableLocation(settings.store, settings.library, settings.space)


def space_tables(spark: SparkSession, settings: Settings) -> SpaceTables:
    """Returns a handle on the tables of the settings' space."""
    return SpaceTables(spark, location_of(settings))


@contextmanager
def delta_session(spark: SparkSession) -> Iterator[bool]:
    """Prepares the session for a job on the store, during a block; refuses one without Delta.

    Sets the properties that reading and writing the store needs, and keeps failed queries out of PySpark's log.
    """
    with silent_query_log():
        require_delta(spark)
        with session_properties(spark, SESSION) as are_set:
            yield are_set


def table_exists(spark: SparkSession, name: str) -> bool:
    """Returns whether the table of this quoted name can be read."""
    try:
        return bool(spark.catalog.tableExists(name))
    except AnalysisException as error:
        if error.getCondition() in _ABSENT:
            return False
        raise


def read_vectors(spark: SparkSession, settings: Settings) -> DataFrame:
    """Reads the vectors of the settings' space, for notebooks and downstream jobs.

    Args:
        spark: The live session; keeps the properties that reading the store needs.
        settings: The configuration, which names store, library and space.

    Returns:
        The current rows of the space's `vectors` table.
    """
    require_delta(spark)
    set_properties(spark, SESSION)
    return space_tables(spark, settings).read("vectors")
