"""Where the Delta tables of a space are, and a handle that creates, reads and writes them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from schemas.documents import DOCUMENTS
from schemas.errors import InputError, SourceError
from schemas.evaluations import EVALUATIONS
from schemas.exports import EXPORTS
from schemas.ledger import LEDGER
from schemas.runs import RUNS
from schemas.spaces import SPACES
from schemas.table import Table, completed, discrepancies, missing_fields, quoted, with_missing, with_sql_types
from schemas.vectors import vectors_table
from spark_jobs.runtime.properties import read_property, session_properties
from spark_jobs.runtime.query_log import silent_query_log
from spark_jobs.runtime.session import require_delta
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.sections import StoreSettings
from spark_jobs.store.failpoints import boundary
from spark_jobs.store.format import add_fields, raise_format
from spark_jobs.store.properties import ROW_READER, SESSION, table_properties

_STORE_WIDE = {RUNS.name, SPACES.name, EVALUATIONS.name, EXPORTS.name}
_EXISTS = "TABLE_OR_VIEW_ALREADY_EXISTS"
# Tables that are also read where nothing is written, and may then lack the newest columns.
_LASTING = {table.name: table for table in (RUNS, SPACES, EVALUATIONS, EXPORTS, LEDGER, DOCUMENTS, vectors_table())}
_ABSENT = {
    "DELTA_MISSING_DELTA_TABLE",
    "DELTA_PATH_DOES_NOT_EXIST",
    "DELTA_TABLE_NOT_FOUND",
    "TABLE_OR_VIEW_NOT_FOUND",
    # Of a path where there is no Delta table yet.
    "PATH_NOT_FOUND",
}


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


def with_readable_types(rows: DataFrame, schema: StructType) -> DataFrame:
    """Gives the rows of a new table the types that every reader of Delta knows.

    A type that a client of Connect names makes text `string collate UTF8_BINARY`, which other readers refuse.
    """
    return rows if hasattr(rows.sparkSession, "_jsparkSession") else with_sql_types(rows, schema)


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
        """Reads the table's current rows; columns that it does not have yet are null."""
        return as_of_today(self.spark.table(self.name(table)), table)

    def complete(self, table: Table, say: Callable[[str], None] = lambda _: None) -> bool:
        """Adds the columns that a table of an earlier version of embedlake lacks.

        Args:
            table: The table as it should be.
            say: Receives a sentence about columns that were added.

        Returns:
            Whether the table exists.

        Raises:
            InputError: Its columns cannot be added; a SourceError if the table has different columns.
        """
        name = self.name(table.name)
        with _writing(name):
            try:
                actual = self.spark.table(name).schema
            except AnalysisException as error:
                if is_absent(error):
                    return False
                raise
            self._complete(table, actual, say)
        return True

    def ensure(self, table: Table, say: Callable[[str], None] = lambda _: None) -> bool:
        """Creates a table without rows if it does not exist, and returns whether it did; completes one that exists."""
        if self.complete(table, say):
            return False
        with boundary(table.name):
            self._create(self.spark.createDataFrame([], table.schema), table)
        return True

    def _create(self, rows: DataFrame, table: Table) -> bool:
        """Creates the table from its first rows; returns whether it did, and not somebody else meanwhile."""
        name = self.name(table.name)
        # Types, comments and order as described, whatever the query says.
        shaped = with_readable_types(rows.to(table.schema), table.schema)
        writer = shaped.writeTo(name).using("delta")
        # A platform that keeps its own reader could not read the split columns again.
        is_readable = read_property(self.spark, ROW_READER) == "false"
        properties = table_properties(table.name, self.location.store.vector_encoding if is_readable else "plain")
        for key, text in {**properties, "comment": table.comment}.items():
            writer = writer.tableProperty(key, text)
        with _writing(name):
            try:
                writer.create()
            except AnalysisException as error:
                if error.getCondition() != _EXISTS:
                    raise
                return False
        return True

    def _complete(self, table: Table, actual: StructType, say: Callable[[str], None]) -> None:
        name = self.name(table.name)
        # Nothing is added to a table that is refused.
        faults = discrepancies(completed(actual, table), table.schema)
        if faults and table.from_source is None:
            remedy = "Something other than embedlake changed it. Restore it, or choose another store."
            raise InputError(f"table {name}: {fault}. {remedy}" for fault in faults)
        if faults:
            raise SourceError(
                f"table {name}: {fault}. Give the changed library a space of its own." for fault in faults
            )
        missing = missing_fields(actual, table)
        if missing:
            with boundary("columns"):
                add_fields(self.spark, name, missing)
                if table.name in _STORE_WIDE:
                    raise_format(self.spark, self.name(SPACES.name))
            say(f"table {table.name} of an earlier version: added {', '.join(each.name for each in missing)}")

    def append(self, rows: DataFrame, table: Table, numbered: Mapping[str, str] | None = None) -> None:
        """Appends rows with the table's columns in one commit, which makes the table if there is none.

        Args:
            rows: The rows. Spark loses what is observed of them if they make a table.
            table: The table, which must exist if `numbered` is given.
            numbered: Writer options of `Fence.options`.

        Raises:
            InputError: The table has to be made, and the store cannot be written.
        """
        with boundary(table.name):
            if numbered is None and not self.exists(table.name) and self._create(rows, table):
                return
            rows.writeTo(self.name(table.name)).options(**(numbered or {})).append()

    def replace(self, rows: DataFrame, table: Table) -> None:
        """Replaces all rows of the table in one commit, which makes the table if there is none."""
        with boundary(table.name):
            if not self.exists(table.name) and self._create(rows, table):
                return
            rows.writeTo(self.name(table.name)).overwrite(F.lit(True))

    def empty(self, table: str) -> None:
        """Removes all rows of the table in one commit, without reading them."""
        with boundary(table):
            self.spark.sql(f"DELETE FROM {self.name(table)}")

    def vacuum(self, table: str, hours: str) -> None:
        """Removes files that no version of the last hours needs."""
        self.spark.sql(f"VACUUM {self.name(table)} RETAIN {hours} HOURS")

    def compact(self, table: str) -> None:
        """Combines small files of the table."""
        self.spark.sql(f"OPTIMIZE {self.name(table)}")

    def last_committers(self, table: str) -> list[str]:
        """Lists the ids of the runs that committed to the table; none if it does not exist."""
        if not self.exists(table):
            return []
        history = self.spark.sql(f"DESCRIBE HISTORY {self.name(table)}").select("userMetadata").dropna().distinct()
        return [row.userMetadata for row in history.collect()]


def as_of_today(rows: DataFrame, table: str) -> DataFrame:
    """Adds, as nulls, the columns that a table of an earlier version does not have yet.

    Args:
        rows: Rows of the table, at any version.
        table: Last part of the table's name.

    Returns:
        The rows with every column that this version knows, unless it is one of the source or of work in flight.
    """
    known = _LASTING.get(table)
    missing = missing_fields(rows.schema, known) if known is not None else []
    return with_missing(rows, missing)


def stored_types(tables: SpaceTables) -> dict[str, DataType]:
    """Finds the types of the space's columns in `vectors` by name; none for a space without vectors."""
    if not tables.exists("vectors"):
        return {}
    return {field.name: field.dataType for field in tables.read("vectors").schema}


def location_of(settings: Settings) -> TableLocation:
    """Returns where the tables of the settings' space are."""
    return TableLocation(settings.store, settings.library, settings.space)


def space_tables(spark: SparkSession, settings: Settings) -> SpaceTables:
    """Returns a handle on the tables of the settings' space."""
    return SpaceTables(spark, location_of(settings))


def tables_of_row(spark: SparkSession, store: StoreSettings, row: Row) -> SpaceTables:
    """Returns a handle on the tables of a space, by its row in the registry."""
    return SpaceTables(spark, TableLocation(store, row.library, row.space))


@contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Java's I/O errors come from Py4J or PySpark
        cause = cause_of(error).rstrip(".")
        raise InputError(
            f"the store cannot be written at {name}: {cause}. Check that the job may write there."
        ) from error


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
        if is_absent(error):
            return False
        raise


def is_absent(error: BaseException) -> bool:
    """Whether an error says that a table does not exist."""
    return isinstance(error, AnalysisException) and error.getCondition() in _ABSENT
