"""Plants faults in a cluster of two workers, one at a time, and holds `embedlake doctor` to finding that one alone.

Run by `make validate-doctor`, as root: some faults are mounts that one worker alone sees. Names of faults choose some.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyspark

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.small_tables import SHORT_LIVED  # noqa: E402
from tests.support.standalone import Worker, free_port, in_namespace, standalone_cluster  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.real_data import MODEL, need  # noqa: E402

RESULTS = ROOT / "tests" / "validate" / "results" / "doctor.json"
PYTHON = "doctor-python"
# Long, because other work on the machine must not decide.
LIMIT = 180
ONE = r"on executor \d on \S+?[.: ]"
HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
"""
SHIFT = "import time\n_now = time.time\ntime.time = lambda: _now() + 3600\n"
HANG = "import time\ntime.sleep(3600)\n"
GPU = '#!/bin/sh\necho \'{"name": "gpu", "addresses": ["0"]}\'\n'


@dataclass(frozen=True)
class Planted:
    """A fault that is planted.

    Attributes:
        found: Each fault that must be found, by the name of its line, with a pattern that the line must match.
        second: What is particular about the second worker.
        both: What is particular about both workers.
        properties: Spark's properties in the settings.
        variables: Variables of the driver's environment; an empty one is removed.
        mounts: Arguments of `mount` that hold for the driver alone.
        python: Code that the second worker's Python runs first.
        master: Address of a master to use instead of the cluster's.
        submitted: Whether spark-submit starts the job, without the properties of conf/.
        warned: Names of properties that a warning must name.
        limit: Seconds that a step may take.
    """

    found: Mapping[str, str] = field(default_factory=dict)
    second: Worker = field(default_factory=Worker)
    both: Worker = field(default_factory=Worker)
    properties: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()
    python: str = ""
    master: str = ""
    submitted: bool = False
    warned: tuple[str, ...] = ()
    limit: int = LIMIT


@dataclass(frozen=True)
class Lab:
    """Folders that the faults are made of."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def prepare(self) -> None:
        """Makes a model, another one, an empty folder, Pythons, and the script that invents a GPU."""
        for name in ("shared", "empty", "small", "fixed", "bin", "other-bin", "no-java"):
            self.path(name).mkdir()
        shutil.copytree(MODEL, self.path("shared/model"))
        shutil.copytree(MODEL, self.path("other-model"))
        with self.path("other-model/vocab.txt").open("a") as file:
            file.write("zebra\n")
        self.path("gpu.sh").write_text(GPU)
        self.path("gpu.sh").chmod(0o755)
        _link(self.path("bin") / PYTHON, sys.executable)
        _link(self.path("other-bin") / PYTHON, _other_python())
        delta = self.path("old-delta/delta_spark-3.3.0.dist-info")
        delta.mkdir(parents=True)
        metadata = "Metadata-Version: 2.1\nName: delta-spark\nVersion: 3.3.0\nRequires-Dist: pyspark<3.6,>=3.5.3\n"
        delta.joinpath("METADATA").write_text(metadata)

    def faults(self) -> dict[str, Planted]:
        """Describes every fault by its name."""
        bind, model = "--bind {} {}", self.path("shared/model")
        elsewhere = bind.format(self.path("empty"), self.path("shared"))
        gpus = {"spark.executor.resource.gpu.amount": "1", "spark.task.resource.gpu.amount": "0.01"}
        script = {
            f"spark.{who}.resource.gpu.discoveryScript": str(self.path("gpu.sh")) for who in ("worker", "executor")
        }
        named = {"PYSPARK_PYTHON": PYTHON}
        usual = os.environ["PATH"]
        return {
            "none": Planted(),
            "package missing on one": Planted(
                {"packages": rf"tokenizers is missing {ONE}"}, python=HIDE.format(name="tokenizers")
            ),
            "embedlake missing on one": Planted(
                {"packages": rf"embedlake is missing {ONE}"}, python=HIDE.format(name="udfs")
            ),
            "other model on one": Planted(
                {"model": rf"has other files {ONE}.*vocab\.txt"},
                Worker(mounts=(bind.format(self.path("other-model"), model),)),
            ),
            "model missing on one": Planted({"model": rf"is not {ONE}"}, Worker(mounts=(elsewhere,))),
            "clock of one is an hour ahead": Planted(
                {"clocks": r"the clock of executor \d on \S+ is 3,[56]\d\d s or more ahead"}, python=SHIFT
            ),
            "store is read-only": Planted(
                {"store": "Read-only file system|cannot be used"},
                mounts=(f"-t tmpfs -o ro tmpfs {self.path('fixed')}",),
            ),
            "store is another folder on one": Planted(
                {"store": r"is a folder, and executor \d on \S+ cannot write"},
                Worker(mounts=(bind.format(self.path("empty"), self.path("fixed")),)),
            ),
            "other version of Delta": Planted(
                {"delta": "delta-spark 3.3.0 needs pyspark<3.6,>=3.5.3, and pyspark is 4", "session": "did not start"},
                variables={"PYTHONPATH": f"{self.path('old-delta')}:{ROOT}"},
            ),
            "too little memory": Planted(
                {"memory": "spark.executor.pyspark.memory is 256 MiB, and a worker .* takes about 1.4 GiB"},
                properties={"spark.executor.pyspark.memory": "256m"},
            ),
            "other Python on one": Planted(
                # Another Python has packages of its own, that is none.
                {"python": rf"the driver has Python 3\.11.*but there is Python 3\.12.*{ONE}", "packages": ONE},
                Worker({"PATH": f"{self.path('other-bin')}:{usual}"}),
                Worker({"PATH": f"{self.path('bin')}:{usual}"}),
                variables=named,
            ),
            "no Python on one": Planted(
                {"python": rf"was not found {ONE}"},
                Worker({"PATH": usual}),
                Worker({"PATH": f"{self.path('bin')}:{usual}"}),
                variables=named,
            ),
            "no disk for shuffles on one": Planted(
                {"disk": r"on executor \d on \S+ has \d{2,3} MiB free"},
                Worker(
                    {"SPARK_LOCAL_DIRS": str(self.path("small"))},
                    (f"-t tmpfs -o size=300m tmpfs {self.path('small')}",),
                ),
            ),
            "no disk at all on one": Planted(
                # Its jars do not fit.
                {"executors": r"executor \d on \S+ ended soon after the start"},
                Worker(
                    {"SPARK_LOCAL_DIRS": str(self.path("small"))}, (f"-t tmpfs -o size=1m tmpfs {self.path('small')}",)
                ),
            ),
            "properties missing": Planted(
                {"delta": "the Spark session cannot use Delta tables"},
                submitted=True,
                warned=("spark.scheduler.mode", "spark.sql.session.timeZone", "arrow.maxRecordsPerBatch"),
            ),
            "master down": Planted(
                {"session": "nothing answers at the master"}, master=f"spark://127.0.0.1:{free_port()}"
            ),
            "GPUs asked for and not seen": Planted(
                {"gpus": r"gpu\.amount is 1, and no GPU can be used on executor \d on \S+ and executor"},
                both=Worker(properties={**script, "spark.worker.resource.gpu.amount": "1"}),
                properties={**gpus, **script},
            ),
            "no worker with what is asked for": Planted(
                {"executors": "no executor has started within 90 s"},
                properties={"spark.executor.memory": "3g"},
                limit=90,
            ),
            "one executor hangs": Planted({"python": rf"did not answer in time {ONE}"}, python=HANG, limit=120),
            "no Java": Planted(
                {"java": "needs Java 17 or newer", "session": "without Java"},
                variables={"JAVA_HOME": "", "PATH": str(self.path("no-java"))},
            ),
        }


def _link(path: Path, to: str) -> None:
    # A link to a virtual environment's Python would not find its packages.
    path.write_text(f'#!/bin/sh\nexec {to} "$@"\n')
    path.chmod(0o755)


def _other_python() -> str:
    name = "python3.12"
    for folder in (Path.home() / ".pyenv" / "versions").glob("3.12*/bin"):
        return str(folder / name)
    found = shutil.which(name)
    return found or sys.exit(f"{name} is needed to plant another Python")


def environment() -> dict[str, str]:
    """This process's environment, with the code of this folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("EMBEDLAKE_", "SPARK_", "PYSPARK_"))}
    return {**kept, "PYTHONPATH": str(ROOT)}


def examine(lab: Lab, name: str, planted: Planted, outcome: Outcome) -> None:
    """Plants one fault, asks the doctor, and compares."""
    folder = lab.path(re.sub(r"\W+", "-", name))
    folder.mkdir()
    second = dict(planted.second.variables)
    if planted.python:
        folder.joinpath("first").mkdir()
        folder.joinpath("first", "sitecustomize.py").write_text(planted.python)
        second["PYTHONPATH"] = f"{folder / 'first'}:{ROOT}"
    workers = [
        planted.both,
        Worker({**planted.both.variables, **second}, planted.second.mounts, planted.both.properties),
    ]
    if planted.master:
        done, seconds = ask(lab, folder, planted, planted.master)
    else:
        with standalone_cluster(folder, workers, environment()) as cluster:
            done, seconds = ask(lab, folder, planted, cluster.master)
    judge(planted, done, outcome)
    outcome.measured(seconds=round(seconds, 1))


def ask(lab: Lab, folder: Path, planted: Planted, master: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Runs the doctor as a process of its own."""
    settings: dict[str, Any] = {
        "library": "toy",
        "store": {"path": str(lab.path("fixed/lake"))},
        "source": {"format": "json", "path": str(folder / "none"), "id_column": "id", "text_columns": ["text"]},
        "model": {"path": str(lab.path("shared/model"))},
        "spark": {
            "master": master,
            "properties": {**SHORT_LIVED, "spark.executor.memory": "512m", **planted.properties},
        },
    }
    file = folder / "settings.yaml"
    file.write_text(json.dumps(settings))
    options = ["--config", str(file), "--json", "--limit", str(planted.limit)]
    command = [sys.executable, "-c", "from spark_jobs.cli import main; main()", "doctor", *options]
    variables = environment()
    if planted.submitted:
        submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
        job = str(ROOT / "spark_jobs" / "check_platform.py")
        command = [str(submit), "--master", master, "--executor-memory", "512m", job, *options]
        variables["PYSPARK_PYTHON"] = sys.executable
    variables = {key: value for key, value in {**variables, **planted.variables}.items() if value}
    begun = time.monotonic()
    done = subprocess.run(
        in_namespace(planted.mounts, command), env=variables, capture_output=True, text=True, timeout=600, check=False
    )
    return done, time.monotonic() - begun


def judge(planted: Planted, done: subprocess.CompletedProcess[str], outcome: Outcome) -> None:
    """Compares what the doctor said with what was planted."""
    outcome.equal("exit code", done.returncode, 2 if planted.found else 0)
    outcome.equal("stack traces", len(re.findall("Traceback|^\tat ", done.stdout + done.stderr, re.MULTILINE)), 0)
    try:
        # spark-submit may print lines of its own before it.
        findings = json.loads(done.stdout[done.stdout.index("{") :])["findings"]
    except ValueError:
        outcome.equal("answer", (done.stdout + done.stderr)[-500:], "JSON")
        return
    faults = [each for each in findings if each["level"] == "fault"]
    outcome.equal("faults", sorted({each["name"] for each in faults}), sorted(planted.found))
    for each in faults:
        text = f"{each['cause']} {each['remedy']}"
        if not re.search(planted.found.get(each["name"], "$^"), text) or not each["remedy"]:
            outcome.equal(f"line {each['name']}", text, planted.found.get(each["name"]))
    warned = " ".join(each["cause"] for each in findings if each["level"] == "warning")
    if planted.warned:
        outcome.equal("properties not named", [each for each in planted.warned if each not in warned], [])


def main() -> None:
    """Plants every fault; exits 1 if one is not found, or another one is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="Parts of names of faults; all by default.")
    given = parser.parse_args()
    need(MODEL)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="doctor-") as scratch:
        lab = Lab(Path(scratch))
        lab.prepare()
        for name, planted in lab.faults().items():
            if not given.names or any(part in name for part in given.names):
                outcome = Outcome(name)
                examine(lab, name, planted, outcome)
                write_outcome(RESULTS, outcome, "make validate-doctor")
                wrong += outcome.faults
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
