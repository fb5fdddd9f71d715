"""What only a classic session has: its Java, its executors, and programs that these start. Connect has none of it."""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pyspark import SparkContext, SparkFiles
from pyspark.sql import SparkSession

from spark_jobs.diagnosis.limits import within

_ARCHIVES = (".zip", ".egg", ".py")
_CANCEL_SECONDS = 5
# Of the reason that Spark keeps for an executor that is gone: it ends idle ones, which is no fault.
_ENDED_BY_SPARK = ("killed by driver", "idle", "decommission")


def is_classic(spark: SparkSession) -> bool:
    """Whether the session is not one of Connect."""
    return hasattr(spark, "_jsparkSession")


def java_of(spark: SparkSession) -> Any:
    """Returns the driver's Java, whose classes are its attributes."""
    return spark._jvm


def java_session(spark: SparkSession) -> Any:
    """Returns Java's own object of the session."""
    return spark._jsparkSession


def is_local(spark: SparkSession) -> bool:
    """Whether the driver does the executors' work."""
    return bool(_context(spark).isLocal())


def ended_executors(spark: SparkSession) -> list[str]:
    """Names the executors whose process ended by itself since the session began, each with its host."""
    sequence, names = _context(spark).statusStore().executorList(False), []
    for index in range(sequence.length()):
        summary = sequence.apply(index)
        reason = str(summary.removeReason())
        if not summary.isActive() and not any(words in reason for words in _ENDED_BY_SPARK):
            names.append(f"executor {summary.id()} on {str(summary.hostPort()).rpartition(':')[0]}")
    return names


def own_properties(spark: SparkSession) -> dict[str, str]:
    """Lists the properties that the session was started with."""
    return dict(spark.sparkContext.getConf().getAll())


def worker_path(spark: SparkSession) -> list[str]:
    """Lists what `--py-files` sent to workers, as they find it from their working folder."""
    root = SparkFiles.getRootDirectory() if is_local(spark) else "."
    includes: Sequence[str] = spark.sparkContext._python_includes or []
    return [root, *(os.path.join(root, name) for name in includes if name.endswith(_ARCHIVES))]


def pipe(spark: SparkSession, lines: Sequence[str], command: Sequence[str]) -> list[str]:
    """Starts a program on executors, by their Java: no worker of Spark's needs to run.

    Args:
        spark: A classic session.
        lines: What each task gives to the program, one line each.
        command: The program and its arguments; `python_of` says which Python workers would be.

    Returns:
        The lines that the programs printed.
    """
    jvm = java_of(spark)
    given, words = jvm.java.util.ArrayList(), jvm.java.util.ArrayList()
    for line in lines:
        given.add(line)
    for word in command:
        words.add(word)
    spark.sparkContext.setJobGroup(_group(spark), "embedlake doctor", interruptOnCancel=True)
    context: Any = spark.sparkContext._jsc
    return [str(line) for line in context.parallelize(given, len(lines)).pipe(words).collect()]


def python_of(spark: SparkSession) -> str:
    """Returns the Python that executors start as workers."""
    return str(spark.sparkContext.pythonExec)


def cancel(spark: SparkSession) -> None:
    """Cancels what `pipe` started; a session that hangs may not take this either."""
    with suppress(Exception):
        within(_CANCEL_SECONDS, lambda: spark.sparkContext.cancelJobGroup(_group(spark)))


def java_process() -> Any:
    """Returns the process of Java that this process started; None if it has not."""
    return getattr(getattr(SparkContext, "_gateway", None), "proc", None)


def _context(spark: SparkSession) -> Any:
    return spark.sparkContext._jsc.sc()


def _group(spark: SparkSession) -> str:
    return f"embedlake-doctor-{id(spark)}"
