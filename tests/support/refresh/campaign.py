"""Short campaigns of random refreshes that crash at given failpoints; `make soak` runs the long ones."""

from tests.support.refresh.machine import Machine

# A crash after one commit leaves the same state as a crash before the next. So each state between two commits of a
# refresh is tried from one side only, and every failpoint is in one of the two lists.
BEFORE = [
    ("runs.before", 1),
    ("plan.before", 1),
    ("staged_vectors.before", 1),
    ("ledger.before", 1),
    ("vectors.before", 2),
    ("staged_chunks.before", 2),
    ("runs.before", 3),
]
AFTER = [
    ("plan.after", 1),
    ("staged_vectors.after", 1),
    ("ledger.after", 1),
    ("runs.after", 2),
    ("vectors.after", 2),
    ("staged_chunks.after", 2),
]
# The commits with which a run shuts out another run that has not ended.
SHUT_OUT = [("vectors.after", 1), ("ledger.after", 1)]
_FENCED = ("vectors", "ledger")
_CRASHES_A_STEP = 3
_TOKENS_OF_SEVERAL_SLICES = 300


def crash(machine: Machine, point: tuple[str, int], is_after_crash: bool) -> None:
    """Crashes a refresh at one of its own commits. Commits that shut out an earlier crashed run are not counted."""
    name, hit = point
    if is_after_crash and name.startswith(_FENCED):
        hit += 1
    assert machine.crash((name, hit), _TOKENS_OF_SEVERAL_SLICES), f"{point} was not reached: {machine.story[-3:]}"


def drive(machine: Machine, first: list[tuple[str, int]], points: list[tuple[str, int]], retries: int = 2) -> None:
    """Crashes a store's first runs, then its refreshes, and compares the tables with the oracle after every success.

    Args:
        machine: A new machine.
        first: Failpoints of the store's first run, in the order in which runs reach them.
        points: Failpoints of a refresh. They are shuffled, and every one must be reached.
        retries: The step in which quarantined documents are tried again.
    """
    machine.change(120)
    for point in first:
        assert machine.crash(point), point
    machine.succeed()
    points = points.copy()
    machine.random.shuffle(points)
    step = 0
    while points:
        step += 1
        for number, point in enumerate(points[:_CRASHES_A_STEP]):
            machine.change(machine.random.randrange(40, 120))
            crash(machine, point, is_after_crash=number > 0)
        del points[:_CRASHES_A_STEP]
        machine.change(machine.random.choice([0, 40]))
        machine.succeed(retry_quarantined=step == retries)
        assert machine.faults == [], "\n".join(machine.story[-6:])
    machine.again()
    assert machine.faults == [], "\n".join(machine.story[-6:])
