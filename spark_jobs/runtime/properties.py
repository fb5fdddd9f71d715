"""Reads and sets properties of a live session, as far as the platform allows it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession


@contextmanager
def session_properties(spark: SparkSession, properties: Mapping[str, str]) -> Iterator[bool]:
    """Sets properties of the session during a block, and yields whether all of them could be set.

    Serverless platforms fix some properties; these keep the platform's value.
    """
    earlier = {key: read_property(spark, key) for key in properties}
    try:
        yield set_properties(spark, properties)
    finally:
        set_properties(spark, {key: value for key, value in earlier.items() if value is not None})
        unset_properties(spark, [key for key, value in earlier.items() if value is None])


def read_property(spark: SparkSession, key: str) -> str | None:
    """Returns a property of the session; None if it is not set, or if the platform does not tell.

    Serverless platforms refuse to read what they do not let a job set.
    """
    try:
        return spark.conf.get(key, None)
    except PySparkException:
        return None


def set_properties(spark: SparkSession, properties: Mapping[str, str]) -> bool:
    """Sets properties of the session permanently; returns whether the platform allowed all of them to be set."""
    refused = 0
    for key, value in properties.items():
        try:
            spark.conf.set(key, value)
        except PySparkException:
            refused += 1
    return not refused


def unset_properties(spark: SparkSession, names: Iterable[str]) -> None:
    """Removes properties from the session."""
    for key in names:
        with suppress(PySparkException):
            spark.conf.unset(key)
