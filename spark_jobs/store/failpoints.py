"""Named points where a test can stop a run: before and after every commit. Inert unless a test sets its variable."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

# `name:hit:action`. With `vectors.after:2:kill` the run is killed when it reaches that point for the second time.
VARIABLE = "TEST_FAILPOINT"
_SLEEP_SECONDS = 3600
_hits: Counter[str] = Counter()


class SimulatedCrash(BaseException):
    """Ends a run as a crash would: no error handler sees it."""


def failpoint(name: str) -> None:
    """Does what the test's variable says, if it names this point.

    Args:
        name: `<table>.before` or `<table>.after`, around a commit to that table.

    Raises:
        SimulatedCrash: The variable asks for `raise`.
    """
    order = os.environ.get(VARIABLE)
    if order is None:
        _hits.clear()
        return
    point, hit, action = order.split(":")
    if point not in (name, "*"):
        return
    _hits[order] += 1
    if _hits[order] != int(hit):
        return
    if action == "raise":
        raise SimulatedCrash(name)
    if action == "sleep":
        time.sleep(_SLEEP_SECONDS)
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "terminate": signal.SIGTERM}[action])


@contextmanager
def boundary(table: str) -> Iterator[None]:
    """Puts a failpoint before and after the commit in its block.

    Args:
        table: Last part of the table's name; `create` when a table is created.
    """
    failpoint(f"{table}.before")
    yield
    failpoint(f"{table}.after")
