"""Properties of a live session that are set for the length of a block."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession


@contextmanager
def session_properties(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[bool]:
    """Sets properties of the session, and puts it back as it was.

    Args:
        spark: The live session.
        wanted: Values by name.

    Yields:
        Whether the platform has let all of them be set; serverless ones fix some, and their own choice then counts.
    """
    earlier = {key: spark.conf.get(key, None) for key in wanted}
    try:
        yield set_properties(spark, wanted)
    finally:
        set_properties(spark, {key: value for key, value in earlier.items() if value is not None})
        unset_properties(spark, [key for key, value in earlier.items() if value is None])


def set_properties(spark: SparkSession, wanted: Mapping[str, str]) -> bool:
    """Sets properties of the session for good.

    Args:
        spark: The live session.
        wanted: Values by name.

    Returns:
        Whether the platform has let all of them be set.
    """
    refused = 0
    for key, value in wanted.items():
        try:
            spark.conf.set(key, value)
        except PySparkException:
            refused += 1
    return not refused


def unset_properties(spark: SparkSession, names: Iterable[str]) -> None:
    """Takes properties out of the session, as far as the platform lets it.

    Args:
        spark: The live session.
        names: Their names.
    """
    for key in names:
        with suppress(PySparkException):
            spark.conf.unset(key)
