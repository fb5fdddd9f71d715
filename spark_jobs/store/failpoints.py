"""Named places where a test can stop a run: at both sides of every commit. Inert unless a test's variable is set."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

# `name:hit:action`, such as `vectors.after:2:kill`: what happens when the run comes by for the second time.
VARIABLE = "TEST_FAILPOINT"
_SLEEP_SECONDS = 3600
_hits: Counter[str] = Counter()


class SimulatedCrash(BaseException):
    """Ends a run as a crash would: nothing that handles errors sees it."""


def failpoint(name: str) -> None:
    """Does what the test's variable says when this place is the one it names.

    Args:
        name: `<table>.before` or `<table>.after`, around a commit to that table.

    Raises:
        SimulatedCrash: The variable asks for `raise`.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        _hits.clear()
        return
    place, hit, action = wanted.split(":")
    if place not in (name, "*"):
        return
    _hits[wanted] += 1
    if _hits[wanted] != int(hit):
        return
    if action == "raise":
        raise SimulatedCrash(name)
    if action == "sleep":
        time.sleep(_SLEEP_SECONDS)
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "terminate": signal.SIGTERM}[action])


@contextmanager
def boundary(table: str) -> Iterator[None]:
    """Marks a commit: the places before and after it are failpoints.

    Args:
        table: Last part of the table's name; `create` where a table is made.
    """
    failpoint(f"{table}.before")
    yield
    failpoint(f"{table}.after")
