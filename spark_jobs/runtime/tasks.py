"""How far the tasks of a Spark job are: finished ones, and the tokens that tasks on this machine have counted."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from udfs.inference.token_file import read_counts

_POLL_SECONDS = 0.5
# The last part is drawn when the job has ended.
_MOST = 0.99


@contextmanager
def token_counts(spark: SparkSession, tasks: int) -> Iterator[Path | None]:
    """Makes a file in which each task counts its tokens; yields None if workers may be on other machines.

    Accumulators of Python workers would not do: Spark reports them when a task has ended.
    """
    if not hasattr(spark, "_jsparkSession") or not str(spark.sparkContext.master).startswith("local"):
        yield None
        return
    handle, name = tempfile.mkstemp(prefix="embedlake-tokens-")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        os.unlink(name)


def share_done(counts: Path | None, finished: int, tasks: int, expected: int) -> float:
    """Estimates which share of a job is done.

    Args:
        counts: File of `token_counts`.
        finished: Tasks that have finished.
        tasks: Tasks of the job.
        expected: Tokens of all tasks, as far as they are known before any has finished; 0 if they are not.

    Returns:
        From 0 to 1; with a file, 1 is never reached.
    """
    if counts is None:
        return finished / tasks
    counted = sorted(read_counts(counts), reverse=True)
    # Tasks are of about the same size, so those that have finished tell how large all are.
    whole = sum(counted[:finished]) / finished * tasks if finished and counted else expected
    return min(_MOST, sum(counted) / whole) if whole else 0.0


@contextmanager
def watch_tasks(spark: SparkSession, tasks: int, report: Callable[[int], None]) -> Iterator[None]:
    """Follows a stage that runs in the block.

    Args:
        spark: The live session, classic or Connect.
        tasks: Number of tasks in the stage, which identifies it.
        report: Called with the number of finished tasks, from another thread.
    """
    if hasattr(spark, "addProgressHandler") and not hasattr(spark, "_jsparkSession"):
        handler: Any = _connect_handler(tasks, report)
        spark.addProgressHandler(handler)
        try:
            yield
        finally:
            spark.removeProgressHandler(handler)
        return
    stop = threading.Event()
    thread = threading.Thread(target=_poll, args=(spark, tasks, report, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _connect_handler(tasks: int, report: Callable[[int], None]) -> Callable[..., None]:
    def handle(stages: Any, **_: object) -> None:
        for stage in stages or ():
            if stage.num_tasks == tasks:
                report(stage.num_completed_tasks)

    return handle


def _poll(spark: SparkSession, tasks: int, report: Callable[[int], None], stop: threading.Event) -> None:
    tracker = spark.sparkContext.statusTracker()
    while not stop.wait(_POLL_SECONDS):
        for number in tracker.getActiveStageIds():
            stage = tracker.getStageInfo(number)
            if stage is not None and stage.numTasks == tasks:
                report(stage.numCompletedTasks)
