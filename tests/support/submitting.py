"""Starts jobs as people do on a cluster: with spark-submit and the zip, or over Spark Connect."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.standalone import SPARK, await_port, free_port

_SECONDS, _END_SECONDS = 600, 20
_SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"
_number = count()
# What docs/cluster.md has people use.
CONF = ROOT / "conf" / "spark-cluster.conf"


@dataclass(frozen=True)
class Done:
    """How a job ended.

    Attributes:
        code: Its exit code.
        text: Its two streams; spark-submit may join them.
        elapsed: Seconds from its start to its end.
    """

    code: int
    text: str
    elapsed: float

    @property
    def lines(self) -> dict[str, str]:
        """The lines of the summary by their labels."""
        return dict(re.findall(r"^([a-z-]+) {2,}(.*)$", self.text, re.MULTILINE))

    @property
    def message(self) -> str:
        """What the job says at its end if it fails."""
        return self.text.rpartition("embedlake: ")[2].strip()


@dataclass(frozen=True)
class Started:
    """A job that has been started, in a group of its own.

    Attributes:
        process: Its process.
        log: Where both of its streams go.
        begun: When it was started.
    """

    process: "subprocess.Popen[bytes]"
    log: Path
    begun: float

    def text(self) -> str:
        """What it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, condition: Callable[[], object], seconds: float = _SECONDS, poll: float = 0.1) -> None:
        """Waits until a condition holds; the job must not end before."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.text()[-3000:]
            assert time.monotonic() < deadline, f"never came true: {self.text()[-3000:]}"
            time.sleep(poll)

    def end(self, seconds: float = _SECONDS) -> Done:
        """Waits for its end; kills it with Java and workers if it takes too long."""
        try:
            code = self.process.wait(seconds)
        except BaseException:
            self.kill()
            raise
        return Done(code, self.text(), time.monotonic() - self.begun)

    def kill(self) -> None:
        """Kills it, and everything that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(command: list[str], folder: Path, environment: Mapping[str, str]) -> Started:
    """Starts a program without waiting for it."""
    log = folder / f"job-{next(_number)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(process, log, time.monotonic())


@dataclass(frozen=True)
class Submitter:
    """Runs job files with spark-submit.

    Attributes:
        packages: The zip with the packages; None sends none.
        python: What driver and workers run; it has no embedlake of its own.
        environment: Variables of the driver.
        folder: Where jobs start, and where their output goes.
        master: The master.
        properties: Spark's properties beside those of `conf`.
        conf: A file of properties.
    """

    packages: Path | None
    python: Path
    environment: Mapping[str, str]
    folder: Path
    master: str = "local[2]"
    properties: Mapping[str, str] = field(default_factory=dict)
    conf: Path = CONF

    def at(self, master: str, properties: Mapping[str, str] | None = None) -> "Submitter":
        """Returns one with another master and more properties."""
        return replace(self, master=master, properties={**self.properties, **(properties or {})})

    @property
    def variables(self) -> dict[str, str]:
        """The variables of its processes."""
        return {**self.environment, "PYSPARK_PYTHON": str(self.python), "SPARK_HOME": str(SPARK)}

    def words(self) -> list[str]:
        """The beginning of each command line: spark-submit, the master and the properties."""
        given = [part for key, value in self.properties.items() for part in ("--conf", f"{key}={value}")]
        return [
            str(SPARK / "bin" / "spark-submit"),
            "--master",
            self.master,
            "--properties-file",
            str(self.conf),
            *given,
        ]

    def start(self, job: str | Path, *arguments: str | Path, **variables: str) -> Started:
        """Starts a job, by its name or as a file of its own, without waiting for it."""
        script = str(job if isinstance(job, Path) else ROOT / "spark_jobs" / f"{job}.py")
        sent = ["--py-files", str(self.packages)] if self.packages is not None else []
        command = [*self.words(), *sent, script, *map(str, arguments)]
        return start(command, self.folder, {**self.variables, **variables})

    def __call__(self, job: str | Path, *arguments: str | Path, **variables: str) -> Done:
        return self.start(job, *arguments, **variables).end()

    @contextmanager
    def connect_server(self, **variables: str) -> Iterator[str]:
        """Starts a Connect server on the cluster, and yields its address."""
        port = free_port()
        options = ["--conf", f"spark.connect.grpc.binding.port={port}", "--class", _SERVER]
        server = start([*self.words(), *options], self.folder, {**self.variables, **variables})
        try:
            await_port(port)
            yield f"sc://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                server.process.wait(_END_SECONDS)
            server.kill()


def clean_environment() -> dict[str, str]:
    """This process's environment without what decides which Spark, Python or settings a job has."""
    unwanted = ("EMBEDLAKE_", "SPARK_", "PYSPARK_", "PYTHONPATH", "TEST_FAILPOINT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    java = Path(sys.prefix) / "java"
    if "JAVA_HOME" not in kept and java.joinpath("bin", "java").exists():
        kept["JAVA_HOME"] = str(java)
    return kept
