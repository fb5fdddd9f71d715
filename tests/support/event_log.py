"""What Spark's own event log says of a job: its tasks, and the executors that came and went."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of the nodes of a stage's plan, the one that sends rows to workers and takes vectors back.
_INFERENCE = "MapInArrow"
_ROWS = "number of output rows"


def event_log_properties(folder: Path) -> dict[str, str]:
    """Has Spark write its events as one readable file a job."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": f"file:{folder}",
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
    }


@dataclass(frozen=True)
class Task:
    """One attempt at a task.

    Attributes:
        stage: Number of its stage.
        description: Of the job that the stage is part of.
        attempt: Number of the stage's attempt.
        partition: Number of its partition.
        executor: Where it ran.
        reason: How it ended: Success, ExecutorLostFailure, FetchFailed, ...
        is_python: Whether its stage sends rows to Python workers.
        rows: Rows that it returned from Python, or 0.
    """

    stage: int
    description: str
    attempt: int
    partition: int
    executor: str
    reason: str
    is_python: bool
    rows: int


@dataclass(frozen=True)
class Events:
    """The events of one job.

    Attributes:
        tasks: Its tasks, in the order of their ends.
        added: Ids of the executors that came.
        removed: Ids of those that went, while the job was at work.
        resubmitted: Stages of which there was more than one attempt, with their job's description.
    """

    tasks: list[Task]
    added: list[str]
    removed: list[str]
    resubmitted: list[str]

    def lost(self) -> list[Task]:
        """The tasks that an executor took along when it ended."""
        return [task for task in self.tasks if task.reason == "ExecutorLostFailure"]

    def repeated(self) -> list[Task]:
        """The tasks of Python stages that succeeded more than once: their rows were computed twice in full."""
        seen: set[tuple[int, int]] = set()
        found = []
        for task in self.tasks:
            if task.is_python and task.reason == "Success":
                found += [task] if (task.stage, task.partition) in seen else []
                seen.add((task.stage, task.partition))
        return found


def read_events(folder: Path) -> list[Events]:
    """Reads the event logs in a folder, the oldest job first."""
    files = sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.stat().st_mtime)
    return [_events(list(_lines(file))) for file in files]


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            # A driver that was killed has not finished its last line.
            return


def _events(events: list[dict[str, Any]]) -> Events:
    of_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        of_kind.setdefault(event["Event"].removeprefix("SparkListener"), []).append(event)
    descriptions = {
        stage: (job.get("Properties") or {}).get("spark.job.description", "")
        for job in of_kind.get("JobStart", [])
        for stage in job["Stage IDs"]
    }
    python, attempts = set(), {}
    for event in of_kind.get("StageSubmitted", []):
        info = event["Stage Info"]
        attempts[info["Stage ID"]] = max(attempts.get(info["Stage ID"], 0), info["Stage Attempt ID"])
        if _INFERENCE in json.dumps(info["RDD Info"]):
            python.add(info["Stage ID"])
    tasks = [
        Task(
            stage=event["Stage ID"],
            description=descriptions.get(event["Stage ID"], ""),
            attempt=event["Stage Attempt ID"],
            partition=event["Task Info"].get("Partition ID", event["Task Info"]["Index"]),
            executor=event["Task Info"]["Executor ID"],
            reason=event["Task End Reason"]["Reason"],
            is_python=event["Stage ID"] in python,
            rows=_rows(event) if event["Stage ID"] in python else 0,
        )
        for event in of_kind.get("TaskEnd", [])
    ]
    return Events(
        tasks,
        [event["Executor ID"] for event in of_kind.get("ExecutorAdded", [])],
        [event["Executor ID"] for event in of_kind.get("ExecutorRemoved", [])],
        [descriptions.get(stage, "") for stage, last in attempts.items() if last],
    )


def _rows(event: dict[str, Any]) -> int:
    updates = [
        int(each["Update"])
        for each in event["Task Info"]["Accumulables"]
        if each.get("Name") == _ROWS and "Update" in each
    ]
    return max(updates, default=0)
