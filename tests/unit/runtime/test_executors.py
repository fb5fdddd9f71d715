"""A cluster that gives a session no executor is said to; one that does, or a session at rest, is not."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from spark_jobs.runtime import executors
from spark_jobs.runtime.executors import warn_without_executors, watch_executors

PATIENCE, POLL = 0.05, 0.01


def answers(*first: list[Any], then: list[Any]) -> Any:
    given: Iterator[list[Any]] = iter(first)
    return lambda: next(given, then)


def test_a_job_that_waits_for_the_first_executor_is_said_to_once() -> None:
    said: list[str] = []
    watch_executors(lambda: [], lambda: [1], said.append, PATIENCE, POLL)
    assert len(said) == 1
    assert said[0].startswith("no executor has started for 0.05 s, and nothing runs without one. Look at")
    assert "spark.executor.memory" in said[0] and "spark.driver.host" in said[0]


def test_nothing_is_said_once_an_executor_has_come_or_while_nothing_waits() -> None:
    said: list[str] = []
    watch_executors(answers([], [], then=["0"]), lambda: [1], said.append, PATIENCE, POLL)
    # No job for longer than the patience, then one for less.
    idle = [[] for _ in range(10)]
    watch_executors(answers(*idle, [], then=["0"]), answers(*idle, then=[1]), said.append, PATIENCE, POLL)
    assert said == []


@pytest.mark.parametrize(
    "spark",
    [
        SimpleNamespace(),
        SimpleNamespace(_jsparkSession=None, sparkContext=SimpleNamespace(master="local[2]")),
    ],
)
def test_sessions_without_executors_of_their_own_are_not_watched(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "watch_executors", lambda *_: pytest.fail("there is nothing to watch"))
    before = executors.threading.active_count()
    warn_without_executors(spark, lambda _: None)
    assert executors.threading.active_count() == before


def test_a_session_that_ends_meanwhile_ends_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        master = "spark://head:7077"

        @staticmethod
        def statusTracker() -> Any:
            return SimpleNamespace(getActiveJobsIds=lambda: [1])

    said: list[str] = []
    started: list[Any] = []
    monkeypatch.setattr(
        executors.threading, "Thread", lambda target, **_: started.append(target) or SimpleNamespace(start=target)
    )
    warn_without_executors(SimpleNamespace(_jsparkSession=None, sparkContext=Gone()), said.append)
    assert len(started) == 1 and said == []
