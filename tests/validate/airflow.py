"""The DAG of conf/schedules/airflow in a real Airflow, which starts real commands from the project's environment.

Run by `make validate-airflow`, or with the names of parts: codes, stopped, library, faults, upkeep. Airflow is
installed into an environment of its own the first time. `codes` has a stand-in for the command end with each exit code,
`stopped` clears its task while it is at work. `library` loads the library of the quick start, edits it, and refreshes
it while a second Airflow starts the same. `faults` refuses settings and kills Java under a part of that library,
`upkeep` verifies and maintains it.
"""

import argparse
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.environments import python_with  # noqa: E402
from tests.support.refresh.oracle import query  # noqa: E402
from tests.support.standalone import free_port  # noqa: E402
from tests.validate.outcome import Outcome, kept_going, write_outcome  # noqa: E402
from tests.validate.quick_start import compare, edit  # noqa: E402
from tests.validate.real_data import MODEL, need  # noqa: E402

RESULTS = ROOT / "tests" / "validate" / "results" / "airflow.json"
DAG = ROOT / "conf" / "schedules" / "airflow"
AIRFLOW = "apache-airflow==3.3.2"
SCHEDULES = {"schedule": "15 * * * *", "upkeep_schedule": "30 3 * * 0"}
RETRIES = 2
SECONDS = 600
# Enough for faults.
DOCUMENTS = 100
# After its first commit a run has told the store that it is at work; it waits there for SIGCONT.
STOPPED = {"TEST_FAILPOINT": "runs.after:1:stop"}
# State and number of tries of a task whose command ends with each code, if two retries are allowed.
WANTED = {
    0: ("success", 1),
    1: ("failed", 3),
    2: ("failed", 1),
    3: ("failed", 1),
    4: ("skipped", 1),
    5: ("failed", 1),
    6: ("failed", 1),
    7: ("failed", 1),
    8: ("failed", 1),
    130: ("failed", 3),
    137: ("failed", 3),
    143: ("failed", 3),
}
States = dict[str, tuple[str, int]]


@dataclass(frozen=True)
class Airflow:
    """An Airflow with a database and a folder of DAGs of its own."""

    home: Path
    python: str

    def set_up(self, command: Path) -> None:
        """Copies the DAG, makes the database, and says where the command is."""
        shutil.copytree(DAG, self.home / "dags")
        self._airflow("db", "migrate")
        self._airflow("variables", "set", "embedlake_command", str(command))

    def keep(self, libraries: dict[str, Any], environment: dict[str, str], retry_seconds: int = 1) -> None:
        """Writes the file of libraries."""
        values = {**SCHEDULES, "retries": RETRIES, "retry_seconds": retry_seconds, "environment": environment}
        file = self.home / "dags" / "embedlake_libraries.yaml"
        file.write_text(yaml.safe_dump({**values, "libraries": libraries}), encoding="utf-8")

    def start(self, dag: str = "embedlake") -> "subprocess.Popen[bytes]":
        """Starts one run of a DAG."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [self.python, "-m", "airflow", "dags", "test", dag],
                env=self._variables(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, dag: str = "embedlake") -> States:
        """Runs a DAG to its end."""
        self.start(dag).wait(SECONDS)
        return self.states()

    @property
    def log(self) -> Path:
        """What Airflow and the tasks wrote."""
        return self.home / "log"

    def written(self) -> int:
        """How long the log is."""
        return self.log.stat().st_size if self.log.exists() else 0

    def states(self) -> States:
        """State and number of tries of each task of the newest run."""
        with sqlite3.connect(self.home / "airflow.db") as database:
            rows = database.execute(
                "select task_id, state, try_number from task_instance where run_id = "
                "(select run_id from dag_run order by id desc limit 1)"
            ).fetchall()
        return {task: (state, tries) for task, state, tries in sorted(rows)}

    def ended(self) -> str:
        """State of the newest run."""
        with sqlite3.connect(self.home / "airflow.db") as database:
            return str(database.execute("select state from dag_run order by id desc limit 1").fetchone()[0])

    def codes(self, since: int) -> list[int]:
        """Exit codes that tasks failed or were skipped with, in the log from a position on."""
        text = self.log.read_text(encoding="utf-8")[since:]
        found = re.findall(
            r"(?:AirflowException: |AirflowFailException: |reason=')embedlake \w+ ended with.* (\d+);", text
        )
        return [int(code) for code in found]

    @contextmanager
    def served(self, port: int) -> Iterator[Callable[..., None]]:
        """Starts all of Airflow, for this machine alone; yields its command line."""
        variables = {
            # It starts its parts by their name.
            "PATH": f"{Path(self.python).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        }
        with self.log.open("ab") as log:
            standalone = subprocess.Popen(
                [self.python, "-m", "airflow", "standalone"],
                env=self._variables() | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield self._airflow
        finally:
            os.killpg(standalone.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                standalone.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(standalone.pid, signal.SIGKILL)
            standalone.wait()

    def _airflow(self, *arguments: str) -> None:
        subprocess.run(
            [self.python, "-m", "airflow", *arguments], env=self._variables(), check=True, capture_output=True
        )

    def _variables(self) -> dict[str, str]:
        # Nothing of this environment may reach Airflow's, or the tasks would not show what they need.
        kept = {
            key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV", "JAVA_HOME")
        }
        return kept | {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        }


def airflow(folder: Path, command: Path) -> Airflow:
    """Sets up an Airflow in a new folder."""
    made = Airflow(folder, python_with("airflow", (AIRFLOW,)))
    folder.mkdir()
    made.set_up(command)
    return made


def codes(outcome: Outcome, folder: Path) -> None:
    """Ends a command with each exit code, one library for each."""
    command = folder / "embedlake"
    command.write_text('#!/bin/sh\nexit "$(basename "$3" .yaml)"\n', encoding="utf-8")
    command.chmod(0o755)
    here = airflow(folder / "home", command)
    libraries = {f"ends-with-{code}": {"settings": f"{code}.yaml", "folder": str(folder)} for code in WANTED}
    planned = {
        f"plan-ends-with-{code}": {"settings": f"{code}.yaml", "folder": str(folder), "plan": True}
        for code in (0, 2, 10)
    }
    here.keep({**libraries, **planned}, {})
    states = here.run()
    for code, wanted in WANTED.items():
        outcome.equal(f"embed ends with {code}: state and tries", states[f"ends-with-{code}.embed"], wanted)
    for code, wanted in {0: ("skipped", 1), 2: ("failed", 1), 10: ("success", 1)}.items():
        outcome.equal(f"plan ends with {code}: state and tries", states[f"plan-ends-with-{code}.plan"], wanted)
    outcome.equal("embed where plan found nothing to do", states["plan-ends-with-0.embed"][0], "skipped")
    outcome.equal("embed where plan was refused", states["plan-ends-with-2.embed"][0], "upstream_failed")
    outcome.measured(airflow=_version(here.python))


def stopped(outcome: Outcome, folder: Path) -> None:
    """Clears a task while its command is at work, in a whole Airflow: scheduler, server, executor."""
    command = folder / "embedlake"
    # Waits for SIGTERM the first time; a child stands for Java.
    command.write_text(
        f"#!/bin/sh\ncd {folder}\necho started >>told\n[ $(grep -c started told) -lt 2 ] || exit 0\n"
        "(trap 'echo child stopped >>told' TERM; while :; do sleep 0.1; done) &\n"
        "trap 'echo stopped >>told; kill -KILL $!; exit 143' TERM\nwhile :; do sleep 0.1; done\n",
        encoding="utf-8",
    )
    command.chmod(0o755)
    told = folder / "told"
    here = airflow(folder / "home", command)
    here.keep({"docs": {"settings": "docs.yaml", "folder": str(folder)}}, {})
    with here.served(free_port()) as served:
        served("dags", "reserialize")
        served("dags", "unpause", "embedlake")
        served("dags", "trigger", "embedlake")
        wait(lambda: told.exists(), "the task's start")
        served("tasks", "clear", "--yes", "--task-regex", "docs.embed", "embedlake")
        wait(lambda: told.read_text(encoding="utf-8").count("started") > 1, "the task's second start")
        wait(lambda: here.states().get("docs.embed", ("", 0))[0] == "success", "the task's end")
    outcome.equal(
        "what the command saw", told.read_text(encoding="utf-8").split("\n")[:-1], ["started", "stopped", "started"]
    )
    outcome.measured(airflow=_version(here.python))


def wait(holds: Callable[[], bool], what: str) -> None:
    """Waits until something holds."""
    ends = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > ends:
            sys.exit(f"waited in vain for {what}")
        time.sleep(0.2)


def library(outcome: Outcome, folder: Path) -> None:
    """Loads and refreshes the library of the quick start."""
    home, command = prepare(folder)
    first, second = (airflow(folder / name, command) for name in ("first", "second"))
    outcome.equal(
        "packages of embedlake in Airflow's environment",
        [name for name in ("pyspark", "delta", "torch", "deltalake", "spark_jobs") if _has(first.python, name)],
        [],
    )
    load(outcome, first, home)
    refresh(outcome, first, second, home)
    outcome.measured(airflow=_version(first.python))


def faults(outcome: Outcome, folder: Path) -> None:
    """Plants faults under a part of the same library."""
    home, command = prepare(folder, most=DOCUMENTS)
    here = airflow(folder / "airflow", command)
    refuse(outcome, here, home)
    retry(outcome, here, home)
    outcome.measured(airflow=_version(here.python))


def upkeep(outcome: Outcome, folder: Path) -> None:
    """Loads a part of the same library, and runs the weekly DAG."""
    home, command = prepare(folder, most=DOCUMENTS)
    here = airflow(folder / "airflow", command)
    here.keep(entry(home, export=None), variables())
    outcome.equal("load: tasks", here.run(), {"docs.embed": ("success", 1)})
    wanted = {f"docs.{task}": ("success", 1) for task in ("maintain", "verify")}
    outcome.equal("upkeep: tasks", here.run("embedlake_upkeep"), wanted)
    outcome.measured(airflow=_version(here.python))


def prepare(folder: Path, most: int | None = None) -> tuple[Path, Path]:
    """Makes what the quick start has; returns its folder, and the command."""
    need(MODEL)
    home = folder / "embedlake"
    source = source_of(home)
    source.parent.mkdir(parents=True)
    (home / "models").mkdir()
    (home / "models" / "all-MiniLM-L6-v2").symlink_to(MODEL.absolute())
    subprocess.run([sys.executable, ROOT / "quickstart" / "collect_docstrings.py", "--out", source], check=True)
    pq.write_table(pq.read_table(source).slice(0, most), source)
    return home, Path(sys.executable).with_name("embedlake")


def source_of(home: Path) -> Path:
    """Where the settings of the quick start look for documents."""
    return home / "documents" / "docstrings.parquet"


def entry(home: Path, **more: Any) -> dict[str, Any]:
    """The library in the DAG's file of libraries."""
    settings = str(ROOT / "conf" / "quickstart.yaml")
    return {"docs": {"settings": settings, "folder": str(home), "export": "parquet:exported", **more}}


def load(outcome: Outcome, here: Airflow, home: Path) -> None:
    """Starts on an empty store; then once more, with a plan, when nothing has changed."""
    here.keep(entry(home, plan=True), variables())
    wanted = {f"docs.{task}": ("success", 1) for task in ("embed", "export", "plan")}
    outcome.equal("first load: tasks", here.run(), wanted)
    held(outcome, "first load", home)
    wanted = {f"docs.{task}": ("skipped", tries) for task, tries in (("embed", 0), ("export", 0), ("plan", 1))}
    outcome.equal("nothing to do, with a plan: tasks", here.run(), wanted)


def refresh(outcome: Outcome, first: Airflow, second: Airflow, home: Path) -> None:
    """Edits the source; a second Airflow starts the same while the first one's run is at work."""
    edit(source_of(home), changed=3, removed=1, added=1)
    first.keep(entry(home), variables(**STOPPED))
    second.keep(entry(home), variables())
    running = first.start()
    stopped = wait_for_stop(running)
    states = second.run()
    outcome.equal("second start while the first is at work: embed", states["docs.embed"], ("skipped", 1))
    outcome.equal("second start while the first is at work: export", states["docs.export"][0], "skipped")
    outcome.equal("second start while the first is at work: exit codes", second.codes(0), [4])
    outcome.equal("second start while the first is at work: the DAG's run", second.ended(), "success")
    stopped.send_signal(signal.SIGCONT)
    running.wait(SECONDS)
    outcome.equal("refresh: tasks", first.states(), {f"docs.{task}": ("success", 1) for task in ("embed", "export")})
    counts = query(home / "lake" / "_embedlake" / "runs", "select run_number, event, counts from t order by run_number")
    last = dict([row for row in counts if row["event"] == "finished"][-1]["counts"])
    found = {name: last[name] for name in ("added", "changed", "removed", "unchanged")}
    outcome.equal("refresh: documents", found, {"added": 1, "changed": 3, "removed": 1, "unchanged": 596})
    held(outcome, "refresh", home)


def refuse(outcome: Outcome, here: Airflow, home: Path) -> None:
    """Starts with a model that is not there."""
    settings = here.home / "absent.yaml"
    values = yaml.safe_load((ROOT / "conf" / "quickstart.yaml").read_text(encoding="utf-8"))
    settings.write_text(yaml.safe_dump({**values, "model": {"path": "./models/absent"}}), encoding="utf-8")
    here.keep(entry(home, settings=str(settings)), variables())
    since = here.written()
    states = here.run()
    outcome.equal("no model: embed", states["docs.embed"], ("failed", 1))
    outcome.equal("no model: export", states["docs.export"][0], "upstream_failed")
    outcome.equal("no model: exit codes", here.codes(since), [2])
    outcome.equal("no model: the DAG's run", here.ended(), "failed")


def retry(outcome: Outcome, here: Airflow, home: Path) -> None:
    """Kills Java under the first try, and sends the second one SIGTERM; the third one is left alone."""
    here.keep(entry(home, export=None), variables(**STOPPED))
    since = here.written()
    running = here.start()
    for signalled in (signal.SIGKILL, signal.SIGTERM, None):
        stopped = wait_for_stop(running)
        if signalled is signal.SIGKILL:
            for child in stopped.children(recursive=True):
                if child.name() == "java":
                    child.kill()
        elif signalled is not None:
            stopped.send_signal(signalled)
        stopped.send_signal(signal.SIGCONT)
        while_running(stopped, running)
    running.wait(SECONDS)
    outcome.equal("Java killed, then SIGTERM: embed", here.states()["docs.embed"], ("success", 3))
    outcome.equal("Java killed, then SIGTERM: exit codes", here.codes(since), [1, 143])
    held(outcome, "Java killed, then SIGTERM", home, None)


def variables(**more: str) -> dict[str, str]:
    """Variables of every command: this checkout's code, and the Java that the campaign was started with."""
    kept = {name: os.environ[name] for name in ("JAVA_HOME", "PYTHONPATH") if os.environ.get(name)}
    return {**kept, **more}


def held(outcome: Outcome, what: str, home: Path, exported: str | None = "exported") -> None:
    """Compares the tables with the source, and the export with the tables."""
    folder = None if exported is None else home / exported
    compare(outcome, what, source_of(home), home / "lake" / "python-docs" / "main", folder)


def wait_for_stop(running: "subprocess.Popen[bytes]") -> psutil.Process:
    """Waits until the command that an Airflow started has stopped itself."""
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends and running.poll() is None:
        for child in psutil.Process(running.pid).children(recursive=True):
            try:
                if child.status() == psutil.STATUS_STOPPED:
                    return child
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.2)
    sys.exit("Airflow's task did not come to its first commit")


def while_running(command: psutil.Process, running: "subprocess.Popen[bytes]") -> None:
    """Waits until a command has ended; its Airflow goes on."""
    while running.poll() is None and command.is_running() and command.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.2)


def _has(python: str, module: str) -> bool:
    program = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", program], cwd="/", env={}, check=False).returncode == 0


def _version(python: str) -> str:
    program = "from importlib.metadata import version; print(version('apache-airflow'))"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


PARTS: dict[str, Callable[[Outcome, Path], None]] = {
    "codes": codes,
    "stopped": stopped,
    "library": library,
    "faults": faults,
    "upkeep": upkeep,
}


def main() -> None:
    """Runs the parts; exits 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"parts to run: {', '.join(PARTS)}; all by default")
    found = []
    for name in parser.parse_args().parts or list(PARTS):
        outcome = Outcome(f"airflow: {name}")
        with tempfile.TemporaryDirectory() as scratch, kept_going(outcome):
            PARTS[name](outcome, Path(scratch))
        write_outcome(RESULTS, outcome, "make validate-airflow")
        found += outcome.faults
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
