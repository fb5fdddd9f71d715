"""Runs the probe on every executor.

In a classic session, the executors' Java starts it as a program, as `RDD.pipe` does, so it answers even where Spark's
own Python workers cannot start: another version of Python, or none. Over Connect only functions can be sent.
"""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pyspark.cloudpickle import register_pickle_by_value, unregister_pickle_by_value
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from spark_jobs.diagnosis import classic, probe
from spark_jobs.diagnosis.limits import TooLongError, within, within_or
from spark_jobs.diagnosis.machines import Machine, machine_of, needed_packages, probe_source
from spark_jobs.runtime.executors import executor_ids
from spark_jobs.runtime.parallelism import task_slots
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings

_ROUNDS, _MOST_TASKS = 3, 2_000
_SHARE = 0.5
_POLL_SECONDS, _SETTLED_SECONDS = 0.5, 5
# Prints one line whatever happens: the answer of Python, or its exit code with what tells the executor.
# Java cannot end a task that waits for a program, so the program is ended in time.
_SHELL = """
ended() { if command -v timeout >/dev/null; then timeout -k 2 "$@"; else shift; "$@"; fi; }
if out=$(ended "$2" "$0" -c "$1" 2>/dev/null); then printf '%s\\n' "$out"
else
  code=$?
  id=$(tr '\\000' '\\n' </proc/$PPID/cmdline 2>/dev/null | sed -n '/^--executor-id$/{n;p;}' | tr -cd 'A-Za-z0-9_-')
  printf '{"failed": %d, "java": %d, "executor": "%s", "host": "%s"}\\n' "$code" "$PPID" "$id" "$(uname -n)"
fi
"""


@dataclass(frozen=True, slots=True)
class Executors:
    """What the executors answered.

    Attributes:
        machines: One for each executor that answered.
        silent: Names of those that did not.
        ended: Names of those whose process has ended by itself.
        cause: Why none or not all were asked; empty if nothing went wrong.
        seconds: How long was waited for what did not come; 0 if nothing was waited for in vain.
    """

    machines: list[Machine] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    cause: str = ""
    seconds: float = 0.0


def find_executors(spark: SparkSession, settings: Settings, request: str, limit: float) -> Executors:
    """Asks the executors as `ask_executors` does, and looks for those that have ended."""
    found = ask_executors(spark, settings, request, limit)
    ended: list[str] = []
    if classic.is_classic(spark):
        with suppress(Exception):  # what Spark keeps of them is its own
            ended = within_or(_SETTLED_SECONDS, lambda: classic.ended_executors(spark), ended)
    return replace(found, ended=ended)


def ask_executors(spark: SparkSession, settings: Settings, request: str, limit: float) -> Executors:
    """Runs the probe once or more on each executor.

    Args:
        spark: A live session, classic or Connect.
        settings: Names the model, which decides what packages are needed.
        request: As `request_of` builds it.
        limit: Seconds for each of the steps: waiting for executors, and asking them.

    Returns:
        What they answered.
    """
    known: list[str] = []
    ask: Callable[[SparkSession, str, int], list[dict[str, Any]]] = _by_function
    if classic.is_classic(spark):
        ask = _by_java
        if not classic.is_local(spark):
            known = wait_for_executors(lambda: executor_ids(spark), limit)
            if not known:
                return Executors(cause="no executor has started", seconds=limit)
    found: dict[tuple[str, int], Machine] = {}
    names: set[str] = set()
    deadline = time.monotonic() + limit
    # What hangs on one executor must not take the time of the others' answers.
    seconds = max(1, int(limit * _SHARE))
    try:
        for _ in range(_ROUNDS):
            before = time.time()
            answers = within(max(0.0, deadline - time.monotonic()), lambda: ask(spark, request, seconds))
            for facts in answers:
                machine = machine_of(facts, needed_packages(settings), None, (before, time.time()))
                found.setdefault((machine.host, facts["java"]), machine)
                names.add(str(facts["executor"]))
            if set(known) <= names:
                break
    except TooLongError:
        if classic.is_classic(spark):
            classic.cancel(spark)
        return Executors(
            list(found.values()), _missing(known, names), cause="the executors did not answer", seconds=limit
        )
    except Exception as error:  # raised by Java, Py4J, PySpark or Connect
        return Executors(list(found.values()), _missing(known, names), cause=cause_of(error).rstrip("."))
    return Executors(list(found.values()), _missing(known, names))


def wait_for_executors(
    ids: Callable[[], list[str]], limit: float, settled: float = _SETTLED_SECONDS, poll: float = _POLL_SECONDS
) -> list[str]:
    """Waits until there are executors, and until no more have come for some seconds.

    Args:
        ids: Lists those that there are.
        limit: Most seconds to wait for the first.
        settled: Seconds without a new one after which all are there.
        poll: Seconds between two looks.

    Returns:
        Their ids; none if no executor has come in time.
    """
    start = changed = time.monotonic()
    seen: list[str] = []
    while time.monotonic() - start < limit:
        now = ids()
        if now != seen:
            seen, changed = now, time.monotonic()
        elif seen and time.monotonic() - changed >= settled:
            break
        time.sleep(poll)
    return seen


def _missing(known: Iterable[str], names: set[str]) -> list[str]:
    return [f"executor {each}" for each in known if each not in names]


def _by_java(spark: SparkSession, request: str, seconds: int) -> list[dict[str, Any]]:
    tasks = max(1, min(task_slots(spark), _MOST_TASKS))
    command = ("sh", "-c", _SHELL, classic.python_of(spark), probe_source(), str(seconds))
    return [json.loads(line) for line in classic.pipe(spark, [request] * tasks, command)]


def _by_function(spark: SparkSession, request: str, _: int) -> list[dict[str, Any]]:
    # With Arrow, workers would need pyarrow to answer.
    answer = F.udf(probe.answer, StringType(), useArrow=False)
    tasks = max(1, min(task_slots(spark), _MOST_TASKS))
    # The code itself is sent, not the name of its module, which workers may lack.
    register_pickle_by_value(probe)  # type: ignore[no-untyped-call]
    try:
        rows = spark.range(0, tasks, 1, tasks).select(answer(F.lit(request)).alias("facts")).collect()
    finally:
        unregister_pickle_by_value(probe)  # type: ignore[no-untyped-call]
    return [json.loads(row.facts) for row in rows]
