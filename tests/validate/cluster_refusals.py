"""Clusters that cannot do the work: each must be refused soon, in one sentence with a remedy. Some need root."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.standalone import Worker, free_port, processes_of, standalone_cluster
from tests.support.submitting import Done, Submitter, start
from tests.validate.cluster_lab import EXECUTOR, Lab
from tests.validate.outcome import Outcome
from tests.validate.real_data import MODEL

_HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "tokenizers":
            raise ModuleNotFoundError("No module named 'tokenizers'", name=name)
sys.meta_path.insert(0, Hide())
"""
_PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Refusal:
    """A cluster that cannot do the work.

    Attributes:
        message: A pattern of what must be said.
        worker: What is particular about each worker, by the part's folder; no cluster is started without it.
        change: Changes how the job is submitted.
        variables: Variables of the driver.
        code: The exit code.
        waits: Whether the job only warns and goes on waiting, so that it is stopped.
        is_client: Whether a client of Connect is started instead.
    """

    message: str
    worker: Callable[[Path], Worker] | None = lambda _: Worker()
    change: Callable[[Submitter], Submitter] = lambda submit: submit
    variables: Mapping[str, str] = field(default_factory=dict)
    code: int = 2
    waits: bool = False
    is_client: bool = False


def _hidden(folder: Path) -> Worker:
    folder.joinpath("first").mkdir()
    folder.joinpath("first", "sitecustomize.py").write_text(_HIDE)
    return Worker({"PYTHONPATH": str(folder / "first")})


def _without_model(folder: Path) -> Worker:
    folder.joinpath("empty").mkdir()
    return Worker(mounts=(f"--bind {folder / 'empty'} {folder / 'model'}",))


def _without_disk(folder: Path) -> Worker:
    folder.joinpath("small").mkdir()
    return Worker({"SPARK_LOCAL_DIRS": str(folder / "small")}, (f"-t tmpfs -o size=1m tmpfs {folder / 'small'}",))


def _bare(submit: Submitter) -> Submitter:
    empty = submit.folder / "empty.conf"
    empty.write_text("")
    return replace(submit, conf=empty)


def _other_python() -> str:
    for found in (Path.home() / ".pyenv" / "versions").glob("3.12*/bin/python3.12"):
        return str(found)
    return shutil.which("python3.12") or sys.exit("python3.12 is needed for another Python")


def _down() -> str:
    return f"127.0.0.1:{free_port()}"


REFUSALS: dict[str, Refusal] = {
    "refused: master down": Refusal(
        r"^nothing answers at the master 127\.0\.0\.1:\d+\. Start the cluster, or correct spark\.master\.$",
        worker=None,
        change=lambda submit: submit.at(f"spark://{_down()}"),
    ),
    "refused: Connect server down": Refusal(
        r"^nothing answers at the Connect server 127\.0\.0\.1:\d+\. Start the cluster, or correct SPARK_REMOTE\.$",
        worker=None,
        is_client=True,
    ),
    "refused: no Delta": Refusal(r"^the Spark session cannot use Delta tables, because .* Start it with", change=_bare),
    "refused: embedlake not on workers": Refusal(
        r"^workers do not find embedlake\. Send it with the job",
        change=lambda submit: replace(submit, packages=None),
        variables={"PYTHONPATH": str(ROOT)},
    ),
    "refused: a package not on workers": Refusal(
        r"^workers have no package tokenizers\. Install there what setup\.py lists", worker=_hidden
    ),
    "refused: another Python on workers": Refusal(
        r"^executors have Python 3\.12, and the driver has 3\.\d+\. Install the driver's version there",
        variables={"PYSPARK_PYTHON": "OTHER"},
    ),
    "refused: no Python on workers": Refusal(
        r"^executors cannot start /no/such/python, which .* Install Python there",
        variables={"PYSPARK_PYTHON": "/no/such/python"},
    ),
    "refused: model not on workers": Refusal(
        r"^on a worker: model \S+/model is not on this worker\. Give every machine the same files\.$",
        worker=_without_model,
    ),
    "refused: executors end at once": Refusal(
        r"the cluster gave the job up, because its executors ended as soon as they started\. The logs of",
        worker=_without_disk,
    ),
    "warned: no worker is large enough": Refusal(
        r"no executor has started for 30 s, and nothing runs without one\. Look at the cluster's page",
        change=lambda submit: submit.at(submit.master, {"spark.executor.memory": "8g"}),
        code=143,
        waits=True,
    ),
}


def refuse(outcome: Outcome, lab: Lab, refusal: Refusal) -> None:
    """Runs a job where it cannot work, and holds what it says to what it must say."""
    folder = lab.folder / re.sub(r"\W+", "-", outcome.part)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copytree(MODEL, folder / "model")
    place = lab.place(f"{folder.name}/place", model=str(folder / "model"))
    place.write(0)
    config = ("--config", place.settings())
    if refusal.is_client:
        variables = {**lab.submit.environment, "SPARK_REMOTE": f"sc://{_down()}", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", "from spark_jobs.cli import main; main()", "embed", *map(str, config)]
        done = start(command, folder, variables).end()
    elif refusal.worker is None:
        done = refusal.change(lab.submit)("embed_library", *config, **refusal.variables)
    else:
        worker = refusal.worker(folder)
        environment = lab.submit.environment
        with standalone_cluster(folder / "cluster", [worker, worker], environment, memory="2g") as cluster:
            done = _submitted(refusal, refusal.change(lab.submit.at(cluster.master, EXECUTOR)), config)
    outcome.equal("exit code", done.code, refusal.code)
    outcome.equal("stack traces", len(re.findall(r"Traceback|^\tat |^\s+at org", done.text, re.MULTILINE)), 0)
    said = done.text if refusal.waits else done.message
    found = re.search(refusal.message, said, re.MULTILINE)
    outcome.equal("said as it must be", found is not None or said[-600:], True)
    outcome.measured(seconds=round(done.elapsed, 1), said=(found[0] if refusal.waits and found else done.message)[:300])


def _submitted(refusal: Refusal, submit: Submitter, config: tuple[str | Path, ...]) -> Done:
    variables = dict(refusal.variables)
    if "PYSPARK_PYTHON" in variables:
        # Only the workers'.
        variables["PYSPARK_DRIVER_PYTHON"] = str(submit.python)
        if variables["PYSPARK_PYTHON"] == "OTHER":
            variables["PYSPARK_PYTHON"] = _other_python()
    job = submit.start("embed_library", *config, **variables)
    if refusal.waits:
        job.wait_for(lambda: re.search(refusal.message, job.text()), _PATIENCE_SECONDS)
        _terminate_driver(job.process.pid)
    return job.end()


def _terminate_driver(group: int) -> None:
    """Asks the driver's Python to end, as whoever supervises it does; Java, its parent, tells nobody of signals."""
    for process, words in processes_of(group).items():
        if "python" in words[0] and any(word.endswith("embed_library.py") for word in words):
            os.kill(process, signal.SIGTERM)
