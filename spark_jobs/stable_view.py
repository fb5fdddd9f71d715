"""The view under whose name readers of a catalog store find a library's vectors, whichever space is active."""

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs.causes import cause_of
from spark_jobs.places import Place

# What Spark says of a catalog that has tables and no views.
_NO_VIEWS = ("MISSING_CATALOG_ABILITY", "UNSUPPORTED_FEATURE.CATALOG_OPERATION")


def make_view(spark: SparkSession, place: Place) -> None:
    """Makes the view `<library>__vectors` select from a space's vectors; a store with a path has none.

    A catalog that knows no views is passed over: the table itself is there under its own name.

    Args:
        spark: The live session.
        place: Where the tables of the library's active space lie; `vectors` is there.

    Raises:
        InputError: The catalog refuses the view, for want of a right or because a table has its name.
    """
    if place.view is None:
        return
    comment = "Vectors of the library, from the space that readers should use"
    try:
        spark.sql(f"CREATE OR REPLACE VIEW {place.view} COMMENT '{comment}' AS SELECT * FROM {place.name('vectors')}")
    except Exception as error:  # what goes wrong in a catalog comes as Py4J's error or PySpark's
        if isinstance(error, PySparkException) and (error.getCondition() or "").startswith(_NO_VIEWS):
            return
        raise InputError(
            f"the view {place.view} cannot be made: {cause_of(error)}: check that the job may make views there and "
            "that nothing else has this name"
        ) from error
