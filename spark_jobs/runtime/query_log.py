"""PySpark's own log of failed queries, which quotes the values that made them fail."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.logger import PySparkLogger

_LOGGERS = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")


@contextmanager
def silent_query_log() -> Iterator[None]:
    """Keeps PySpark from printing failed queries during a block; the errors themselves still say everything.

    The loggers belong to the user's process, so they are silent only as long as a job runs. Blocks may overlap in
    several threads: each adds a filter of its own and removes that one alone.
    """

    class Nothing(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return False

    nothing = Nothing()
    # Asked for in PySpark's own way: a plain logger under the name would fail where PySpark writes to it.
    loggers = [PySparkLogger.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(nothing)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(nothing)
