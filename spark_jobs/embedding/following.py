"""Following sources: which space gets a turn, what makes it run, and how long it pauses after a fault."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from pyspark.sql import SparkSession

from schemas.errors import CapReachedError
from schemas.plan import UNCHANGED
from spark_jobs.embedding.backlog import backlog_of
from spark_jobs.embedding.refresh import refresh
from spark_jobs.embedding.report import RunReport
from spark_jobs.embedding.several_spaces import check_session
from spark_jobs.embedding.source_reading import SourceReading, shared_reading
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.signals import interruption_of
from spark_jobs.settings.loading import Settings
from spark_jobs.sources.source import source_state

# `once` looks at each source once, `idle` until a look finds nothing new at any, `stopped` until a signal comes.
Until = Literal["once", "idle", "stopped"]
# What a person has mended is found within this time, and a store that is broken over night is tried 50 times.
LONGEST_PAUSE = 900.0
_MOST_DOUBLINGS = 30


@dataclass
class Followed:
    """A space that is followed, and what is known of its source.

    Attributes:
        name: How it is named to people.
        settings: Its whole configuration.
        done: State of the source that the last run took in; None before one has succeeded, or if it does not tell.
        tried: State of the source at the last attempt that failed; None if it does not tell or could not be found.
        runs: Runs that succeeded.
        failures: Attempts that failed since then.
        try_at: When to try again although the source is as it was, on the clock of `follow`.
        look_at: When its next turn is.
    """

    name: str
    settings: Settings
    done: str | None = None
    tried: str | None = None
    runs: int = 0
    failures: int = 0
    try_at: float = -math.inf
    look_at: float = -math.inf


@dataclass(frozen=True)
class Refreshed:
    """A run succeeded; `seconds` is how long it took."""

    space: Followed
    report: RunReport
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A source could not be found, or a run failed; None for the seconds if it is not tried again by itself."""

    space: Followed
    error: Exception
    seconds_to_next: float | None


@dataclass(frozen=True)
class Waiting:
    """Nothing is to be done for so many seconds; whoever follows waits. The spaces have what their sources have."""

    seconds: float
    in_step: tuple[Followed, ...] = ()


def follow(
    spark: SparkSession,
    spaces: Sequence[Followed],
    until: Until = "stopped",
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(Progress()),
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Refreshed | Failed | Waiting]:
    """Gives each space its turn, again and again: looks at its source, and runs if there may be something to do.

    Args:
        spark: A live session, with the properties of `delta_session`.
        spaces: What to follow; what is known of them is kept there.
        until: When to end.
        progress: Makes what shows the progress of one run.
        now: Clock, in seconds.

    Yields:
        What happened, as it happens. The caller waits where that is `Waiting`.

    Raises:
        CapReachedError: A run reached its cap.
        Exception: The session itself is gone.
    """
    while True:
        is_idle = True
        due = [space for space in spaces if until != "stopped" or space.look_at <= now()]
        for _, those in groupby(due, lambda space: space.settings.source):
            for event in _turns(spark, list(those), until, progress, now):
                is_idle = False
                yield event
        if until == "once" or (until == "idle" and is_idle):
            return
        if until == "stopped":
            in_step = tuple(space for space in due if space.runs and not space.failures)
            yield Waiting(max(0.0, min(space.look_at for space in spaces) - now()), in_step)


def _turns(
    spark: SparkSession,
    spaces: Sequence[Followed],
    until: Until,
    progress: Callable[[], AbstractContextManager[Progress]],
    now: Callable[[], float],
) -> Iterator[Refreshed | Failed]:
    """Looks at a source, and gives the spaces that have it their turns over one reading of it."""
    # A listing asks nothing of Spark, so that a follower of files would not notice for days that it is alone. And a
    # server of Connect forgets a session that is silent for an hour.
    spark.conf.get("spark.sql.session.timeZone", None)
    state: str | Exception | None
    try:
        # Before the runs read it: what changes meanwhile is found by the next look.
        state = source_state(spark, spaces[0].settings.source)
    except Exception as error:
        state = error
    with shared_reading(len(spaces) > 1) as reading:
        for space in spaces:
            event = _turn(spark, space, state, until, progress, now, reading)
            space.look_at = now() + space.settings.follow.poll_seconds
            if event is not None:
                yield event


def _turn(
    spark: SparkSession,
    space: Followed,
    found: str | Exception | None,
    until: Until,
    progress: Callable[[], AbstractContextManager[Progress]],
    now: Callable[[], float],
    reading: SourceReading,
) -> Refreshed | Failed | None:
    began, state = now(), None if isinstance(found, Exception) else found
    try:
        if isinstance(found, Exception):
            raise found
        if not _may_differ(spark, space, state, began):
            return None
        with progress() as shown:
            report = refresh(spark, space.settings, progress=shown, reading=reading)
    except Exception as error:
        # A signal breaks whatever was asked of Java at that moment.
        stop = interruption_of(error)
        if stop is not None:
            raise stop from None
        # Whoever caps what a run may spend does not want the next one to spend it again at once.
        if isinstance(error, CapReachedError):
            raise
        check_session(spark)
        if state is None and space.failures and began < space.try_at:
            return None
        return Failed(space, error, _pause(space, state, until, now))
    space.done, space.failures = state, 0
    space.runs += 1
    return Refreshed(space, report, now() - began)


def _may_differ(spark: SparkSession, space: Followed, state: str | None, now: float) -> bool:
    if space.failures:
        return now >= space.try_at or state not in (None, space.tried)
    # What happened to the store before this process began is not known.
    if not space.runs:
        return True
    if state is not None:
        return state != space.done
    backlog = backlog_of(spark, space.settings)
    return bool(backlog.faults) or any(number for change, number in backlog.documents.items() if change != UNCHANGED)


def _pause(space: Followed, state: str | None, until: Until, now: Callable[[], float]) -> float | None:
    """Notes a failed attempt; returns the seconds until the next one."""
    space.tried = state
    space.failures += 1
    if until != "stopped":
        space.try_at = math.inf
        return None
    shortest = space.settings.follow.poll_seconds
    seconds = min(shortest * 2.0 ** min(space.failures - 1, _MOST_DOUBLINGS), max(shortest, LONGEST_PAUSE))
    space.try_at = now() + seconds
    return seconds
