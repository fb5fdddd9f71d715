"""The one module that knows Delta: where tables lie, how they are made, read and written."""

from contextlib import AbstractContextManager

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.conform import discrepancies
from schemas.errors import InputError, SourceError
from schemas.table import Table
from spark_jobs.causes import cause_of
from spark_jobs.delta_properties import SESSION, table_properties
from spark_jobs.failpoints import boundary
from spark_jobs.places import Place as Place
from spark_jobs.places import place_of as place_of
from spark_jobs.session_properties import session_properties, set_properties
from spark_jobs.settings import Settings

_ABSENT = {"DELTA_MISSING_DELTA_TABLE", "DELTA_PATH_DOES_NOT_EXIST", "DELTA_TABLE_NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND"}


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


def ensure_table(spark: SparkSession, place: Place, table: Table) -> None:
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


def read(spark: SparkSession, place: Place, table: str) -> DataFrame:
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
    return read(spark, place_of(settings), "vectors")


def append(rows: DataFrame, place: Place, table: str) -> None:
    """Appends rows in one commit.

    Args:
        rows: Rows with the table's columns.
        place: Where the tables lie.
        table: Last part of its name.
    """
    with boundary(table):
        rows.writeTo(place.name(table)).append()


def last_committers(spark: SparkSession, place: Place, table: str) -> list[str]:
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


def replace(rows: DataFrame, place: Place, table: str) -> None:
    """Replaces all rows of a table in one commit.

    Args:
        rows: Rows with the table's columns.
        place: Where the tables lie.
        table: Last part of its name.
    """
    with boundary(table):
        rows.writeTo(place.name(table)).overwrite(F.lit(True))
