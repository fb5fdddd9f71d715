"""The executors of a cluster's session; if none comes, Spark waits without a word, so that is said here."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from pyspark.sql import SparkSession

from spark_jobs.runtime.cluster import is_local

_PATIENCE_SECONDS, _POLL_SECONDS = 30.0, 1.0


def executor_ids(spark: SparkSession) -> list[str]:
    """Lists the executors of a classic session; none of a local one."""
    sequence = spark.sparkContext._jsc.sc().getExecutorIds()
    return sorted(str(sequence.apply(index)) for index in range(sequence.length()))


def warn_without_executors(spark: SparkSession, warn: Callable[[str], None]) -> None:
    """Warns once if tasks wait for a cluster that starts no executor; returns at once.

    Args:
        spark: The live session; of a local one and of Connect there is nothing to watch.
        warn: Told what to look at.
    """
    if not hasattr(spark, "_jsparkSession") or is_local(str(spark.sparkContext.master)):
        return
    tracker = spark.sparkContext.statusTracker()

    def watch() -> None:
        # The session may end meanwhile.
        with suppress(Exception):
            watch_executors(lambda: executor_ids(spark), tracker.getActiveJobsIds, warn)

    threading.Thread(target=watch, name="embedlake-executors", daemon=True).start()


def watch_executors(
    ids: Callable[[], Sequence[str]],
    jobs: Callable[[], Sequence[int]],
    warn: Callable[[str], None],
    patience: float = _PATIENCE_SECONDS,
    poll: float = _POLL_SECONDS,
) -> None:
    """Waits for the first executor, and warns once if jobs wait for it too long.

    Args:
        ids: Lists the executors that there are.
        jobs: Lists the jobs that are active.
        warn: Told what to look at.
        patience: Seconds that a job may wait.
        poll: Seconds between two looks.
    """
    waiting_since: float | None = None
    while not ids():
        now = time.monotonic()
        waiting_since = (waiting_since or now) if jobs() else None
        if waiting_since is not None and now - waiting_since >= patience:
            warn(
                f"no executor has started for {patience:g} s, and nothing runs without one. Look at the cluster's "
                "page: is a worker free that has the cores and the memory that the session asks for "
                "(spark.executor.cores, spark.executor.memory), and can it connect to the driver (spark.driver.host)?"
            )
            return
        time.sleep(poll)
