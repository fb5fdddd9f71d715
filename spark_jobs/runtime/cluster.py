"""Sessions whose executors are on other machines: whether their master answers, and what it means if executors fail."""

import re
import socket
from dataclasses import dataclass

from schemas.errors import InputError

_CONNECT_SECONDS = 5
_LOCAL = re.compile(r"local(\[.*\])?")
_MASTER = re.compile(r"spark://(.+)")
# A server of Spark Connect, whose port may be left out.
_SERVER = re.compile(r"sc://([^/;]+)")
_SERVER_PORT = 15002
_STOPPED = re.compile(r"on a stopped SparkContext|SparkContext was (?:shut down|stopped)|IllegalStateException")
_OWN_PACKAGES = ("schemas", "udfs", "spark_jobs")
_CLUSTER_PAGE = "docs/cluster.md"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a cluster as Spark words it, and as a person is told of it.

    Attributes:
        words: What Spark's message contains; its groups go into the cause.
        cause: What is wrong.
        remedy: What to do about it.
    """

    words: re.Pattern[str]
    cause: str
    remedy: str


_GIVEN_UP = "the cluster gave the job up, because its executors ended as soon as they started"
# Spark's messages are long, and some are known from its log alone. Groups hold versions and names of programs.
_FAULTS = (
    Fault(
        re.compile(r"Python in worker has different version: (\d+\.\d+) than that in driver: (\d+\.\d+)"),
        "executors have Python {0}, and the driver has {1}",
        "Install the driver's version there, and name it by PYSPARK_PYTHON or spark.pyspark.python.",
    ),
    Fault(
        re.compile(r"java\.io\.IOException: Cannot run program \"([\w./~-]+)\""),
        "executors cannot start {0}, which they were told to use as Python",
        "Install Python there, and name it by PYSPARK_PYTHON or spark.pyspark.python.",
    ),
    Fault(
        re.compile(r"Master removed our application: KILLED"),
        "somebody ended the job at the cluster's master",
        "Run the same command again to continue; what was committed stays.",
    ),
    Fault(
        re.compile(r"Master removed our application"),
        _GIVEN_UP,
        "The logs of Spark's workers say why: a full disk, another version of Java or Spark, and a driver that they "
        "cannot connect to (spark.driver.host) are common reasons.",
    ),
    Fault(
        re.compile(r"All masters are unresponsive"),
        "what listens at the master's address does not answer as a Spark master of this version",
        "Correct spark.master, or start a master of the driver's version of Spark.",
    ),
    Fault(
        re.compile(r"ExecutorLostFailure \(executor \S+ exited"),
        "executors ended again and again while they worked",
        "Their logs say why. Most often their memory is too small for Java and the model together: raise "
        "spark.executor.memoryOverhead, or give fewer cores to each.",
    ),
    Fault(
        re.compile(r"either HADOOP_CONF_DIR or YARN_CONF_DIR must be set"),
        "YARN is not configured on this machine",
        "Set HADOOP_CONF_DIR to the folder of its configuration.",
    ),
    Fault(
        re.compile(r"\[unresolved dependency: ([\w.#;-]+)"),
        "the package {0} cannot be fetched",
        "Give the driver a Maven repository (spark.jars.repositories), or list the files in spark.jars.",
    ),
)


def is_local(master: str) -> bool:
    """Whether the driver itself does the work of executors."""
    return _LOCAL.fullmatch(master) is not None


def unreachable_masters(master: str, seconds: float = _CONNECT_SECONDS) -> list[str]:
    """Finds the masters of a standalone cluster, or the Connect server, that do not take a connection.

    Spark itself would try a master for a minute, and a server for ten.

    Args:
        master: Value of `spark.master`, such as `spark://one:7077,two:7077`, or of `spark.remote`.
        seconds: How long each may take.

    Returns:
        Host and port of each, if none of them answers; else none.
    """
    silent = []
    for address in _addresses(master):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
        except (OSError, ValueError):
            silent.append(address)
        else:
            return []
    return silent


def check_master(master: str) -> None:
    """Raises InputError if nothing answers at the address of a standalone master or of a Connect server."""
    silent = unreachable_masters(master)
    if not silent:
        return
    what, name = ("Connect server", "SPARK_REMOTE") if _SERVER.match(master) else ("master", "spark.master")
    raise InputError(f"nothing answers at the {what} {', '.join(silent)}. Start the cluster, or correct {name}.")


def cluster_fault(text: str) -> str | None:
    """Finds a fault of a cluster in a message or a log of Spark's.

    Args:
        text: May hold values of rows; none of them is repeated.

    Returns:
        Its cause in one sentence, its remedy in the next; None if the text names none of the faults that are known.
    """
    for fault in _FAULTS:
        found = fault.words.search(text)
        if found is not None:
            return f"{fault.cause.format(*found.groups())}. {fault.remedy}"
    return None


def start_fault(text: str, master: str) -> str | None:
    """Finds a fault in what a start that failed has left: its error and its messages, if there are any.

    Args:
        text: The error, and what Spark has written.
        master: Value of `spark.master`.

    Returns:
        As `cluster_fault`. Of a cluster that gave the job up while it started, Spark itself says only that its context
        is stopped.
    """
    found = cluster_fault(text)
    if found is None and _MASTER.fullmatch(master) and _STOPPED.search(text):
        return cluster_fault("Master removed our application")
    return found


def missing_package(message: str) -> str | None:
    """Says what to do if workers lack a package, by Python's own message; None if it says something else."""
    found = re.fullmatch(r"No module named '([\w.]+)'", message)
    if found is None:
        return None
    name = found[1].partition(".")[0]
    if name in _OWN_PACKAGES:
        return (
            "workers do not find embedlake. Send it with the job, as --py-files dist/embedlake.zip or "
            f"spark.submit.pyFiles do, or install it there; see {_CLUSTER_PAGE}."
        )
    return (
        f"workers have no package {name}. Install there what setup.py lists, or send an environment with the job; see "
        f"{_CLUSTER_PAGE}."
    )


def _addresses(master: str) -> list[str]:
    found = _MASTER.fullmatch(master)
    if found is not None:
        return found[1].split(",")
    server = _SERVER.match(master)
    if server is None:
        return []
    return [server[1] if re.search(r":\d+$", server[1]) else f"{server[1]}:{_SERVER_PORT}"]
