"""A standalone cluster of two workers on this machine, of which the second may see another machine than the first."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyspark

from tests.support.small_tables import FIRST_COMPILER

_SPARK = Path(pyspark.__file__).parent
_DEPLOY = "org.apache.spark.deploy"
_START_SECONDS, _END_SECONDS = 60, 20


@dataclass(frozen=True)
class Worker:
    """What is particular about a worker.

    Attributes:
        variables: Variables of its environment; an empty one is removed.
        mounts: Arguments of `mount` that hold for this worker alone, such as `--bind other here`.
        properties: Spark's properties of the worker itself, such as those of its GPUs.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def standalone_cluster(folder: Path, workers: list[Worker], environment: Mapping[str, str]) -> Iterator[str]:
    """Starts a master and its workers, each a process of its own with one core.

    Args:
        folder: Where logs and work go.
        workers: One entry for each worker.
        environment: Variables of all processes.

    Yields:
        The master's address.
    """
    port = free_port()
    master = f"spark://127.0.0.1:{port}"
    with ExitStack() as stack:
        shared = {
            **environment,
            "SPARK_HOME": str(_SPARK),
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_SCALA_VERSION": "2.13",
        }
        options = ("--host", "127.0.0.1", "--port", str(port), "--webui-port", "0")
        stack.enter_context(_running(folder / "master.log", "master.Master", options, shared, Worker()))
        _await(port)
        for number, worker in enumerate(workers):
            work = folder / f"work-{number}"
            work.mkdir(parents=True, exist_ok=True)
            options = ("--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", "1g")
            options = (*options, "--work-dir", str(work), master)
            stack.enter_context(_running(folder / f"worker-{number}.log", "worker.Worker", options, shared, worker))
            _await_line(folder / f"worker-{number}.log", "Successfully registered with master")
        yield master


def free_port() -> int:
    """Finds a port that nothing listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def in_namespace(mounts: tuple[str, ...], command: list[str]) -> list[str]:
    """Puts mounts before a command that it and its children alone see; needs root."""
    if not mounts:
        return command
    script = " && ".join([*(f"mount {each}" for each in mounts), f"exec {shlex.join(command)}"])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


@contextmanager
def _running(
    log: Path, name: str, options: tuple[str, ...], environment: Mapping[str, str], worker: Worker
) -> Iterator[None]:
    java = Path(environment["JAVA_HOME"], "bin", "java")
    given = [f"-D{key}={value}" for key, value in worker.properties.items()]
    command = [str(java), *FIRST_COMPILER.split(), "-Xmx256m", *given, "-cp", f"{_SPARK}/jars/*", f"{_DEPLOY}.{name}"]
    variables = {key: value for key, value in {**environment, **worker.variables}.items() if value}
    with log.open("wb") as output:
        process = subprocess.Popen(
            in_namespace(worker.mounts, [*command, *options]),
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            # Executors and their Python belong to the group too.
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _kill_group(process.pid)
                process.wait()


def _kill_group(number: int) -> None:
    try:
        os.killpg(number, signal.SIGKILL)
    except ProcessLookupError:
        return


def _await(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    sys.exit(f"no master listens at {port}")


def _await_line(log: Path, line: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if line in log.read_text(errors="replace"):
            return
        time.sleep(0.2)
    sys.exit(f"{log} does not say: {line}")
