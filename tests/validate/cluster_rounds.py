"""Runs on a cluster: as a local one, over Connect, and with workers, executors and drivers that end meanwhile."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.support.event_log import Events, read_events
from tests.support.paths import ROOT
from tests.support.standalone import processes_of
from tests.support.submitting import Done, Started, start
from tests.validate.cluster_lab import FAKE, Lab, Place, active_stages, succeeded, watched
from tests.validate.outcome import Outcome

# What workers import for the stand-in model.
_WORKER_PACKAGES = ("numpy", "pandas", "pyarrow", "tokenizers", "filelock", "packaging")
_COMMAND = [sys.executable, "-c", "from spark_jobs.cli import main; main()"]
# Rows are shuffled to tasks so many and so small that there is time to kill an executor between them.
_TASKS = 300
_LONG_SHUFFLE = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.shuffle.partitions": str(_TASKS),
}


def as_local(outcome: Outcome, lab: Lab) -> None:
    """First load, refresh, search and export by spark-submit on two workers."""
    place, first = lab.place("submit"), lab.first()
    with lab.cluster("submit") as (_, submit):
        figures = place.load(submit)
        place.compare(outcome, "first load", first)
        figures |= place.refresh(submit) | place.serve(submit)
    _compare_all(outcome, lab, place, figures)
    executors = {task.executor for events in read_events(place.folder / "events")[:1] for task in events.tasks}
    outcome.equal("executors with tasks in the first load", len(executors), 2)


def over_connect(outcome: Outcome, lab: Lab) -> None:
    """The same over Spark Connect, against a server that runs on the cluster."""
    place, first = lab.place("connect", model=FAKE), lab.first(FAKE)
    with lab.cluster("connect") as (_, submit), submit.connect_server() as remote:
        client = Client(lab, place, remote)
        figures = client.embed(0, "first load")
        place.compare(outcome, "first load", first)
        figures |= client.embed(1, "refresh") | client.serve()
    _compare_all(outcome, lab, place, figures)


@dataclass(frozen=True)
class Client:
    """Starts the installed command as a client of a Connect server."""

    lab: Lab
    place: Place
    remote: str

    def __call__(self, *arguments: str | Path) -> Done:
        variables = {**self.lab.submit.environment, "SPARK_REMOTE": self.remote, "PYTHONPATH": str(ROOT)}
        return succeeded(start([*_COMMAND, *map(str, arguments)], self.place.folder, variables).end())

    @property
    def settings(self) -> Path:
        # Workers have no embedlake of their own.
        sent = {"spark.submit.pyFiles": str(self.lab.submit.packages)}
        return self.place.settings(spark={"properties": sent})

    def embed(self, state: int, what: str) -> dict[str, Any]:
        self.place.write(state)
        return self.place.figures(what, self("embed", "--config", self.settings))

    def serve(self) -> dict[str, Any]:
        return self.place.serve(self._job)  # type: ignore[arg-type]

    def _job(self, job: str, _: str, __: Path, *arguments: str) -> Done:
        return self(job.partition("_")[0], "--config", self.settings, *arguments)


def _compare_all(outcome: Outcome, lab: Lab, place: Place, figures: dict[str, Any]) -> None:
    served = lab.served(place.model)
    local = lab.local(place.model)
    place.compare(outcome, "refresh", served.store)
    for what in ("first load", "refresh"):
        outcome.equal(f"{what}: texts embedded", figures[f"{what} texts embedded"], local[f"{what} texts embedded"])
        outcome.equal(f"{what}: commits", figures[f"{what} commits"], local[f"{what} commits"])
    outcome.equal("search: hits", [list(hit) for hit in figures["hits"]], [list(hit) for hit in local["hits"]])
    mine, theirs = place.served_rows(), served.served_rows()
    outcome.equal(f"export: rows are the same, of {theirs.num_rows:,}", mine.equals(theirs), True)
    for what in ("first load", "refresh", "search", "export"):
        outcome.measured(
            **{f"{what}, seconds": figures[f"{what} seconds"], f"{what}, seconds locally": local[f"{what} seconds"]}
        )


def worker_killed(outcome: Outcome, lab: Lab) -> None:
    """A worker and its executor are killed while both embed; its last task is done again by the other."""
    place, first = lab.place("worker"), lab.first()
    place.write(0)
    with lab.cluster("worker") as (cluster, submit):
        submit, port = watched(submit)
        job = submit.start("embed_library", "--config", place.settings())
        job.wait_for(lambda: _embeds(job, port, finished=1))
        cluster.kill_worker(1)
        done = succeeded(job.end())
    place.compare(outcome, "tables", first)
    _count_again(outcome, lab, place, "first load", cores=1)
    _beside(outcome, lab, place, "first load", done)


def _embeds(job: Started, port: int, finished: int) -> bool:
    """Whether two tasks of inference are at work, and so many of the stage have finished."""
    if not any(line.endswith(" embed") for line in job.text().splitlines()):
        return False
    stages = [stage for stage in _appending_stages(port) if stage["numTasks"] > 2 and stage["numActiveTasks"] == 2]
    return any(stage["numCompleteTasks"] >= finished for stage in stages)


def _appending_stages(port: int) -> list[Mapping[str, Any]]:
    # Vectors are appended as workers return them. Delta's stages, which read its log, may be larger.
    return [stage for stage in active_stages(port) if stage["name"].startswith("append at ")]


def _count_again(outcome: Outcome, lab: Lab, place: Place, what: str, cores: int) -> None:
    (events,) = read_events(place.folder / "events")
    lost = [task for task in events.lost() if task.is_python]
    outcome.at_least("tasks of inference lost with the worker", len(lost), 1)
    outcome.at_most("tasks of inference lost with the worker, at most its cores", len(lost), cores)
    outcome.equal("tasks of inference that succeeded twice", len(events.repeated()), 0)
    outcome.equal("texts embedded, by the record", place.embedded(), lab.local(place.model)[f"{what} texts embedded"])
    again = {(task.stage, task.partition) for task in lost}
    rows = sum(task.rows for task in events.tasks if task.reason == "Success" and (task.stage, task.partition) in again)
    outcome.measured(texts=place.embedded(), texts_embedded_twice_at_most=rows)


def _beside(outcome: Outcome, lab: Lab, place: Place, what: str, done: Done) -> None:
    outcome.equal("commits", place.commits(), lab.local(place.model)[f"{what} commits"])
    outcome.measured(seconds=round(done.elapsed, 1), seconds_locally=lab.local(place.model)[f"{what} seconds"])


def executor_lost_in_merge(outcome: Outcome, lab: Lab) -> None:
    """An executor is killed while a MERGE reads what it has shuffled; Spark makes that again elsewhere."""
    place, second = lab.place("merge", lab.first(FAKE), FAKE), lab.second(FAKE)
    place.write(1)
    with lab.cluster("merge") as (cluster, submit):
        submit, port = watched(submit.at(submit.master, _LONG_SHUFFLE))
        job = submit.start("embed_library", "--config", place.settings())
        job.wait_for(lambda: _merges(job, port), poll=0.02)
        killed = cluster.kill_executors(1)
        done = succeeded(job.end())
    place.compare(outcome, "tables", second)
    (events,) = read_events(place.folder / "events")
    outcome.equal("executors killed", len(killed), 1)
    outcome.at_least("tasks and stages of a MERGE that were done again", len(_merged_again(events)), 1)
    outcome.equal("texts embedded, by the record", place.embedded(), lab.local(FAKE)["refresh texts embedded"])
    _beside(outcome, lab, place, "refresh", done)


def _merges(job: Started, port: int) -> bool:
    """Whether a MERGE is at work on what has been shuffled, and not near its end."""
    if not job.text().rstrip().endswith(" merge vectors"):
        return False
    stages = [stage for stage in active_stages(port) if stage["numTasks"] == _TASKS]
    return any("MERGE" in stage.get("description", "") and 20 < stage["numCompleteTasks"] < 150 for stage in stages)


def _merged_again(events: Events) -> list[str]:
    # What the executor had shuffled is lost while its stage is at work, or when the next one asks for it.
    lost = [task.description for task in events.tasks if task.reason == "Resubmitted"]
    return [description for description in (*lost, *events.resubmitted) if "MERGE" in description]


def driver_killed(outcome: Outcome, lab: Lab) -> None:
    """The driver is killed between the commits to vectors and ledger; the same command is given again."""
    place, second = lab.place("driver", lab.first(FAKE), FAKE), lab.second(FAKE)
    place.write(1)
    with lab.cluster("driver") as (_, submit):
        config = ("--config", place.settings())
        killed = submit("embed_library", *config, TEST_FAILPOINT="vectors.after:1:kill")
        outcome.equal("exit code of the killed driver is 0", killed.code == 0, False)
        done = succeeded(submit("embed_library", *config))
    place.compare(outcome, "tables", second, with_runs=False)
    outcome.equal("texts embedded again", place.embedded(), 0)
    mine, theirs = place.commits(), lab.local(FAKE)["refresh commits"]
    outcome.measured(
        seconds=round(killed.elapsed + done.elapsed, 1),
        seconds_locally=lab.local(FAKE)["refresh seconds"],
        commits_more_than_locally=sum(mine.values()) - sum(theirs.values()),
    )


def two_drivers(outcome: Outcome, lab: Lab) -> None:
    """A second driver starts while the first one stands still before its commit; it is refused by the file lock."""
    _two_drivers(outcome, lab, "two", "is working on space tldr.main")


def two_drivers_elsewhere(outcome: Outcome, lab: Lab) -> None:
    """The same with a store on a file system that is not the local one, where only the table `runs` can refuse it."""
    _two_drivers(outcome, lab, "two-elsewhere", "tldr.main.2", is_elsewhere=True)


def _two_drivers(outcome: Outcome, lab: Lab, name: str, words: str, is_elsewhere: bool = False) -> None:
    place, local = lab.place(name, lab.first(FAKE), FAKE), lab.second(FAKE)
    place.write(1)
    with lab.cluster(name) as (_, submit):
        # So that there is a core for each.
        submit = submit.at(submit.master, {"spark.cores.max": "1"})
        elsewhere = {}
        if is_elsewhere:
            # A view of the folder under another scheme, of which no driver sees that it is on its own disk.
            mount = {"spark.hadoop.fs.viewfs.mounttable.lab.link./lake": f"file://{place.store}"}
            submit, elsewhere = submit.at(submit.master, mount), {"store": {"path": "viewfs://lab/lake"}}
        config = ("--config", place.settings(**elsewhere))
        first = submit.start("embed_library", *config, TEST_FAILPOINT="vectors.before:1:stop")
        first.wait_for(lambda: _stopped(first))
        second = submit("embed_library", *config)
        outcome.equal("exit code of the second", second.code, 4)
        outcome.equal("its message names the other", words in second.message or second.message, True)
        for process in _stopped(first):
            os.kill(process, signal.SIGCONT)
        done = succeeded(first.end())
    place.compare(outcome, "tables", local)
    _beside(outcome, lab, place, "refresh", done)
    outcome.measured(seconds_of_the_refusal=round(second.elapsed, 1))


def _stopped(job: Started) -> list[int]:
    """The processes of a job that stand still."""
    return [process for process in processes_of(job.process.pid) if _state(process) == "T"]


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def come_and_go(outcome: Outcome, lab: Lab) -> None:
    """Dynamic allocation: a run begins with one worker, a second one comes, and then the first one goes."""
    place, first = lab.place("dynamic"), lab.first()
    place.write(0)
    dynamic = {
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.minExecutors": "0",
        "spark.dynamicAllocation.maxExecutors": "2",
        "spark.dynamicAllocation.executorIdleTimeout": "5s",
        "spark.executor.cores": "1",
    }
    with lab.cluster("dynamic") as (cluster, submit):
        cluster.kill_worker(1)
        submit, port = watched(submit.at(submit.master, dynamic))
        job = submit.start("embed_library", "--config", place.settings())
        job.wait_for(lambda: _at_work(job, port))
        cluster.start_worker(1)
        job.wait_for(lambda: cluster.executors(1) and _embeds(job, port, finished=1))
        cluster.kill_worker(0)
        done = succeeded(job.end())
    place.compare(outcome, "tables", first)
    (events,) = read_events(place.folder / "events")
    outcome.at_least("executors that came", len(events.added), 2)
    outcome.at_least("executors that went during the run", len(events.removed), 1)
    _count_again(outcome, lab, place, "first load", cores=1)
    _beside(outcome, lab, place, "first load", done)


def _at_work(job: Started, port: int) -> bool:
    embeds = any(line.endswith(" embed") for line in job.text().splitlines())
    return embeds and any(stage["numActiveTasks"] for stage in _appending_stages(port))


def packed(outcome: Outcome, lab: Lab) -> None:
    """Workers get their packages as an archive with the job; the stand-in model, because torch makes it large."""
    place, first = lab.place("packed", model=FAKE), lab.first(FAKE)
    archive = _pack(place.folder)
    place.write(0)
    with lab.cluster("packed") as (_, submit):
        submit = submit.at(submit.master, {"spark.archives": f"{archive}#environment"})
        python = {"PYSPARK_DRIVER_PYTHON": str(submit.python), "PYSPARK_PYTHON": "./environment/bin/python"}
        done = succeeded(submit("embed_library", "--config", place.settings(), **python))
    place.compare(outcome, "tables", first)
    used = {path.resolve() for path in (place.folder / "cluster").glob("work-*/app-*/*/environment")}
    outcome.at_least("executors that unpacked it", len(used), 2)
    outcome.measured(seconds=round(done.elapsed, 1), mebibytes=archive.stat().st_size // 2**20)


def _pack(folder: Path) -> Path:
    environment, archive = folder / "environment", folder / "environment.tar.gz"
    uv, python = [sys.executable, "-m", "uv"], environment / "bin" / "python"
    packages = [f"{name}=={version(name)}" for name in _WORKER_PACKAGES]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), "venv-pack2", *packages], check=True)
    subprocess.run(
        [str(environment / "bin" / "venv-pack"), "-q", "-p", str(environment), "-o", str(archive)], check=True
    )
    return archive


ROUNDS = {
    "as a local run": as_local,
    "over Spark Connect": over_connect,
    "worker killed during inference": worker_killed,
    "executor lost during a MERGE": executor_lost_in_merge,
    "driver killed during a commit": driver_killed,
    "two drivers at once": two_drivers,
    "two drivers at once, store elsewhere": two_drivers_elsewhere,
    "workers that come and go": come_and_go,
    "packed environment": packed,
}
