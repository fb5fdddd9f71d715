"""PySpark's log of failed queries is silent while a job runs, and the user's own again afterwards."""

import io
import logging

from pyspark.logger import PySparkLogger

from spark_jobs.runtime.query_log import silent_query_log


def test_failed_queries_are_logged_only_outside_of_jobs() -> None:
    logger = PySparkLogger.getLogger("SQLQueryContextLogger")
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logger.addHandler(handler)
    first, second = silent_query_log(), silent_query_log()
    try:
        first.__enter__()
        second.__enter__()
        logger.error("in both jobs", errorClass="X")
        first.__exit__(None, None, None)
        logger.error("in the other job", errorClass="X")
        second.__exit__(None, None, None)
        assert written.getvalue() == ""
        logger.error("after", errorClass="X")
        assert "after" in written.getvalue()
    finally:
        logger.removeHandler(handler)
