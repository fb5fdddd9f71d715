"""The fence that keeps an overtaken run from writing: numbers that Delta compares at every commit."""

import itertools
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from spark_jobs.runtime.properties import set_properties, unset_properties
from spark_jobs.store.properties import TRANSACTION

# Leaves room for every commit of a run below the first one of the next run.
_COMMITS_PER_RUN = 1 << 32


def new_owner() -> str:
    """Names who commits: host, process and a random word, because a process may take a number twice."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@contextmanager
def transaction(spark: SparkSession, app_id: str, version: int, run_id: str) -> Iterator[bool]:
    """Gives the one commit in its block an application id and a number.

    MERGE takes no writer options, so they are set as properties of the session while the commit runs.

    Args:
        spark: The live session.
        app_id: Application id.
        version: Number of the commit; Delta skips a commit whose number is not above the table's highest.
        run_id: Run that commits; recorded in the table's history.

    Yields:
        Whether the platform allowed all of them to be set.
    """
    try:
        yield set_properties(spark, dict(zip(TRANSACTION, (app_id, str(version), run_id), strict=True)))
    finally:
        # Not restored: values left by an interrupted commit would make Delta skip the commits of others.
        unset_properties(spark, TRANSACTION)


class Fence:
    """Numbers the commits of one run.

    Every table keeps the highest number written to it for each application id, and Delta skips a commit whose number
    is not higher. A run numbers its commits above those of every earlier run. So once a later run has committed to a
    table, an earlier one can no longer write to it.

    Args:
        app_id: Application id, one for each space.
        run_number: Number of the run in its space.
    """

    def __init__(self, app_id: str, run_number: int) -> None:
        self._app_id = app_id
        self._run_id = f"{app_id}.{run_number}"
        self._numbers = itertools.count(run_number * _COMMITS_PER_RUN + 1)

    def options(self) -> dict[str, str]:
        """Returns the writer options that number one commit, whatever the session's properties are meanwhile."""
        return {"txnAppId": self._app_id, "txnVersion": str(next(self._numbers)), "userMetadata": self._run_id}

    @contextmanager
    def commit(self, spark: SparkSession) -> Iterator[bool]:
        """Numbers the one commit in its block, and yields whether Delta will see the number.

        The number is a property of the session: what other threads commit meanwhile must have `options` of its own.
        """
        with transaction(spark, self._app_id, next(self._numbers), self._run_id) as is_fenced:
            yield is_fenced
