"""The one module that knows Delta: where tables lie, how they are made, read and written."""

from contextlib import AbstractContextManager
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from schemas.table import discrepancies
from schemas.errors import InputError
from schemas.errors import SourceError
from schemas.table import Table
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.store.properties import SESSION
from spark_jobs.store.properties import table_properties
from spark_jobs.store.failpoints import boundary
from spark_jobs.runtime.properties import session_properties
from spark_jobs.runtime.properties import set_properties
from spark_jobs.settings.loading import Settings
from dataclasses import dataclass
from schemas.table import quoted
from schemas.evaluations import EVALUATIONS
from schemas.exports import EXPORTS
from schemas.runs import RUNS
from schemas.spaces import SPACES
from spark_jobs.settings.sections import StoreSettings

_ABSENT = {"DELTA_MISSING_DELTA_TABLE", "DELTA_PATH_DOES_NOT_EXIST", "DELTA_TABLE_NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND"}

_STORE_WIDE = {RUNS.name, SPACES.name, EVALUATIONS.name, EXPORTS.name}


def delta_session(spark: SparkSession) -> AbstractContextManager[bool]:
    """Sets what reading and writing the store needs, and puts the session back as it was.

    Args:
        spark: The live session.

    Returns:
        The context in which the store may be used.
    """
    return session_properties(spark, SESSION)


def exists(spark: SparkSession, name: str) -> bool:
    """Tells whether a table is there.

    Args:
        spark: The live session.
        name: Quoted name.

    Returns:
        Whether it can be read.
    """
    try:
        return bool(spark.catalog.tableExists(name))
    except AnalysisException as error:
        if error.getCondition() in _ABSENT:
            return False
        raise


@dataclass(frozen=True, slots=True)
class TableLocation:
    """Where the tables of one space lie.

    Attributes:
        store: The store's settings.
        library: Name of the library.
        space: Name of the space.
    """

    store: StoreSettings
    library: str
    space: str

    def name(self, table: str) -> str:
        """Names a table the way SQL takes it, quoted.

        Args:
            table: Last part of the name, such as `vectors`.

        Returns:
            ``delta.`<path>` `` or a three-part catalog name.
        """
        whole = table in _STORE_WIDE
        if self.store.path is not None:
            folder = "_embedlake" if whole else f"{self.library}/{self.space}"
            root = self.store.path.rstrip("/")
            return f"delta.{quoted(f'{root}/{folder}/{table}')}"
        return self._in_catalog(f"embedlake__{table}" if whole else f"{self.library}__{self.space}__{table}")

    @property
    def view(self) -> str | None:
        """Quoted name of the view of the library's active vectors; None with a path, where nothing has names."""
        return None if self.store.path is not None else self._in_catalog(f"{self.library}__vectors")

    def _in_catalog(self, name: str) -> str:
        return ".".join(quoted(part) for part in (self.store.catalog or "", self.store.schema_ or "", name))


def ensure_table(spark: SparkSession, place: TableLocation, table: Table) -> None:
    """Makes a table where there is none, and compares its columns where there is one.

    Args:
        spark: The live session.
        place: Where the tables lie.
        table: What the table is.

    Raises:
        InputError: The store cannot be written.
        SourceError: The table has other columns.
    """
    name = place.name(table.name)
    try:
        if exists(spark, name):
            faults = discrepancies(spark.table(name).schema, table.schema)
            if faults:
                raise SourceError(
                    f"table {name}: {fault}: give the changed library a space of its own" for fault in faults
                )
            return
        writer = spark.createDataFrame([], table.schema).writeTo(name).using("delta")
        for key, text in {
            **table_properties(table.name, place.store.vector_encoding),
            "comment": table.comment,
        }.items():
            writer = writer.tableProperty(key, text)
        with boundary("create"):
            writer.create()
    except InputError:
        raise
    except Exception as error:  # what goes wrong in Java's input and output comes as Py4J's error or PySpark's
        cause = cause_of(error)
        raise InputError(
            f"the store cannot be written at {name}: {cause}: check that the job may write there"
        ) from error


def read(spark: SparkSession, place: TableLocation, table: str) -> DataFrame:
    """Reads a table of the store.

    Args:
        spark: The live session.
        place: Where the tables lie.
        table: Last part of its name.

    Returns:
        Its current rows.
    """
    return spark.table(place.name(table))


def read_vectors(spark: SparkSession, settings: Settings) -> DataFrame:
    """Reads the vectors of the settings' space, for notebooks and downstream jobs.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Returns:
        Rows of the vectors table.
    """
    set_properties(spark, SESSION)
    return read(spark, location_of(settings), "vectors")


def append(rows: DataFrame, place: TableLocation, table: str) -> None:
    """Appends rows in one commit.

    Args:
        rows: Rows with the table's columns.
        place: Where the tables lie.
        table: Last part of its name.
    """
    with boundary(table):
        rows.writeTo(place.name(table)).append()


def last_committers(spark: SparkSession, place: TableLocation, table: str) -> list[str]:
    """Lists the runs that a table's history tells of.

    Args:
        spark: The live session.
        place: Where the tables lie.
        table: Last part of its name.

    Returns:
        Run ids; none where there is no table.
    """
    name = place.name(table)
    if not exists(spark, name):
        return []
    history = spark.sql(f"DESCRIBE HISTORY {name}").select("userMetadata").dropna().distinct()
    return [row.userMetadata for row in history.collect()]


def replace(rows: DataFrame, place: TableLocation, table: str) -> None:
    """Replaces all rows of a table in one commit.

    Args:
        rows: Rows with the table's columns.
        place: Where the tables lie.
        table: Last part of its name.
    """
    with boundary(table):
        rows.writeTo(place.name(table)).overwrite(F.lit(True))


def location_of(settings: Settings) -> TableLocation:
    """Finds where the tables of the settings' space lie.

    Args:
        settings: The whole configuration.

    Returns:
        The place.
    """
    return TableLocation(settings.store, settings.library, settings.space)
