"""Starting the session in a limited time, after the questions that need none: is there Java, does the master answer."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs.diagnosis.classic import java_process
from spark_jobs.diagnosis.findings import Finding, fault, ok, version_numbers
from spark_jobs.diagnosis.limits import TooLongError, within
from spark_jobs.runtime.cluster import unreachable_masters
from spark_jobs.runtime.session import find_java, master_of, submitted_master
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings

_OLDEST_JAVA = 17
_JAVA_SECONDS, _GRACE_SECONDS = 20, 5
_VERSION = re.compile(r'version "([^"]+)"')


@dataclass(frozen=True, slots=True)
class Java:
    """The Java that Spark would start.

    Attributes:
        command: What is started.
        version: Its version; empty if it did not say.
        cause: Why there is none; empty if there is.
    """

    command: str = ""
    version: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """The session, or why there is none.

    Attributes:
        spark: The live session.
        cause: Why there is none.
        remedy: What to do about it.
    """

    spark: SparkSession | None = None
    cause: str = ""
    remedy: str = ""


def find_java_version() -> Java:
    """Finds the Java that Spark would start on this machine, and asks it for its version."""
    try:
        find_java()
    except InputError as error:
        return Java(cause=str(error))
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else "java"
    try:
        done = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=_JAVA_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Java(cause=f"{command} does not run ({type(error).__name__}). Install Java 17 or newer.")
    found = _VERSION.search(done.stderr + done.stdout)
    return Java(command, found[1] if found is not None else "")


def judge_java(java: Java) -> Finding:
    """Judges the Java of this machine."""
    if java.cause:
        cause, _, remedy = java.cause.partition(". ")
        return fault("java", f"{cause}.", remedy)
    numbers = version_numbers(java.version)
    # Java 8 calls itself 1.8.
    if numbers and numbers[0] < _OLDEST_JAVA:
        return fault(
            "java",
            f"{java.command} is Java {java.version}, and Spark needs {_OLDEST_JAVA} or newer.",
            "Install it, and set JAVA_HOME to its folder.",
        )
    return ok("java", f"Java {java.version or 'of an unknown version'} is started as {java.command}.")


def is_remote(settings: Settings) -> bool:
    """Whether the session would be one of Connect, whose Java is elsewhere."""
    return "SPARK_REMOTE" in os.environ or "spark.remote" in settings.spark.properties


def start_session(settings: Settings, start: Callable[[], SparkSession], java: Java | None, limit: float) -> Start:
    """Starts the session, and gives up after some time.

    Args:
        settings: Names the master.
        start: Starts the session.
        java: The Java of this machine; None if none is needed.
        limit: Most seconds that the start may take.

    Returns:
        The session, or why there is none.
    """
    if java is not None:
        if judge_java(java).level == "fault":
            return Start(cause="no session can start without Java", remedy="Repair that first.")
        silent = unreachable_masters(_master(settings))
        if silent:
            return Start(
                cause=f"nothing answers at the master {', '.join(silent)}",
                remedy="Start the cluster, or correct spark.master.",
            )
    earlier = java_process()
    try:
        with _own_terminal():
            return Start(within(limit, start))
    except TooLongError:
        _end_java(earlier)
        return Start(
            cause=f"no session has started within {limit:g} s",
            remedy="Look for what Spark waits for with --debug, or allow more time with --limit.",
        )
    except Exception as error:  # raised by our checks, Py4J, PySpark or Connect
        cause, _, remedy = cause_of(error).partition(". ")
        return Start(cause=cause.rstrip("."), remedy=remedy or "Look at Spark's own messages with --debug.")


def _master(settings: Settings) -> str:
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        # Chosen by whoever called spark-submit.
        return submitted_master()
    return master_of(settings.spark)


@contextmanager
def _own_terminal() -> Iterator[None]:
    # A start that hangs has turned Spark's messages away from the terminal and will not turn them back.
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    try:
        yield
    finally:
        for stream, descriptor in kept.items():
            os.dup2(descriptor, stream)
            os.close(descriptor)


def _end_java(earlier: Any) -> None:
    process = java_process()
    # Sessions that the caller had before live in the earlier one.
    if process is not None and process is not earlier:
        with suppress(OSError, subprocess.SubprocessError):
            process.kill()
            process.wait(timeout=_GRACE_SECONDS)
