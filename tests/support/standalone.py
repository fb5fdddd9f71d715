"""A standalone cluster on this machine, whose workers may each see another machine, be killed, and come back."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyspark

from tests.support.small_tables import FIRST_COMPILER

SPARK = Path(pyspark.__file__).parent
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


@dataclass
class Cluster:
    """A master and its workers, each a process of its own.

    Attributes:
        master: The master's address.
        folder: Where logs and work go.
        workers: What is particular about each worker.
        environment: Variables of all processes.
        cores: Cores of each worker.
        memory: What each worker may give to executors.
    """

    master: str
    folder: Path
    workers: list[Worker]
    environment: Mapping[str, str]
    cores: int
    memory: str
    _processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_worker(self, number: int) -> None:
        """Starts a worker, or starts it again, and waits until the master knows it."""
        work, log = self.folder / f"work-{number}", self.folder / f"worker-{number}.log"
        work.mkdir(parents=True, exist_ok=True)
        options = ("--host", "127.0.0.1", "--webui-port", "0", "--cores", str(self.cores), "--memory", self.memory)
        options = (*options, "--work-dir", str(work), self.master)
        self._processes[number] = _start(log, "worker.Worker", options, self.environment, self.workers[number])
        _await_line(log, "Successfully registered with master")

    def kill_worker(self, number: int) -> None:
        """Kills a worker and its executors, as the end of a machine does."""
        process = self._processes.pop(number)
        _kill_group(process.pid)
        process.wait()

    def executors(self, number: int) -> dict[str, int]:
        """Lists the executors of a worker, each with the number of its process."""
        found = processes_of(self._processes[number].pid)
        option = "--executor-id"
        return {words[words.index(option) + 1]: pid for pid, words in found.items() if option in words}

    def kill_executors(self, number: int) -> list[str]:
        """Kills the executors of a worker, which stays and starts others; returns the ids of those that ended."""
        found = self.executors(number)
        for process in found.values():
            os.kill(process, signal.SIGKILL)
        return sorted(found)

    def stop(self) -> None:
        """Ends all workers."""
        for process in self._processes.values():
            _end(process)


@contextmanager
def standalone_cluster(
    folder: Path, workers: list[Worker], environment: Mapping[str, str], cores: int = 1, memory: str = "1g"
) -> Iterator[Cluster]:
    """Starts a master and its workers.

    Args:
        folder: Where logs and work go.
        workers: One entry for each worker.
        environment: Variables of all processes.
        cores: Cores of each worker.
        memory: What each worker may give to executors.

    Yields:
        The cluster.
    """
    port = free_port()
    shared = {
        **environment,
        "SPARK_HOME": str(SPARK),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_SCALA_VERSION": "2.13",
    }
    options = ("--host", "127.0.0.1", "--port", str(port), "--webui-port", "0")
    folder.mkdir(parents=True, exist_ok=True)
    master = _start(folder / "master.log", "master.Master", options, shared, Worker())
    cluster = Cluster(f"spark://127.0.0.1:{port}", folder, workers, shared, cores, memory)
    try:
        await_port(port)
        for number in range(len(workers)):
            cluster.start_worker(number)
        yield cluster
    finally:
        cluster.stop()
        _end(master)


def free_port() -> int:
    """Finds a port that nothing listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def processes_of(group: int) -> dict[int, list[str]]:
    """Lists the processes of a group, each with the words of its command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        # Some end meanwhile.
        with suppress(OSError):
            if folder.name.isdigit() and os.getpgid(int(folder.name)) == group:
                found[int(folder.name)] = folder.joinpath("cmdline").read_text(errors="replace").split("\0")
    return found


def in_namespace(mounts: tuple[str, ...], command: list[str]) -> list[str]:
    """Puts mounts before a command that it and its children alone see; needs root."""
    if not mounts:
        return command
    script = " && ".join([*(f"mount {each}" for each in mounts), f"exec {shlex.join(command)}"])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def _start(
    log: Path, name: str, options: tuple[str, ...], environment: Mapping[str, str], worker: Worker
) -> subprocess.Popen[bytes]:
    java = Path(environment["JAVA_HOME"], "bin", "java")
    given = [f"-D{key}={value}" for key, value in worker.properties.items()]
    command = [str(java), *FIRST_COMPILER.split(), "-Xmx256m", *given, "-cp", f"{SPARK}/jars/*", f"{_DEPLOY}.{name}"]
    variables = {key: value for key, value in {**environment, **worker.variables}.items() if value}
    with log.open("wb") as output:
        return subprocess.Popen(
            in_namespace(worker.mounts, [*command, *options]),
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    # Executors belong to the group too, and their Python ends with them.
    with suppress(ProcessLookupError):
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


def await_port(port: int) -> None:
    """Waits until something listens at a port."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    sys.exit(f"nothing listens at {port}")


def _await_line(log: Path, line: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if line in log.read_text(errors="replace"):
            return
        time.sleep(0.2)
    sys.exit(f"{log} does not say: {line}")
