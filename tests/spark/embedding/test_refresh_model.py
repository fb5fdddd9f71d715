"""Random refreshes, crashes at every commit, take-overs and retries against an oracle in plain Python."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.refresh.machine import FAILPOINTS, FIRST, Machine

pytestmark = pytest.mark.spark

RUNS = 40
EDITS = 4_000


@pytest.mark.timeout(3600)
def test_after_every_success_the_tables_equal_the_oracle(spark: SparkSession, tmp_path: Path) -> None:
    machine = Machine(spark, tmp_path, seed=20)
    machine.change(150)
    for point in FIRST:
        assert machine.crash(point), point
    points = FAILPOINTS.copy()
    machine.random.shuffle(points)
    machine.succeed()
    step = 0
    while machine.runs < RUNS or machine.library.edits < EDITS or points:
        step += 1
        machine.change(machine.random.randrange(160, 320))
        for point in points[:2]:
            machine.crash(point)
            machine.change(machine.random.choice([0, 40]))
        del points[:2]
        if step % 6 == 2:
            machine.overtake(machine.random.choice([("vectors.before", 1), ("ledger.before", 1), ("plan.after", 1)]))
        else:
            machine.succeed(retry_quarantined=step % 5 == 0)
        if step % 7 == 0:
            machine.again()
        assert machine.faults == [], "\n".join(machine.story[-6:])
    assert {name for name, _ in FIRST + FAILPOINTS} == set(machine.reached)
    print(f"{machine.runs} runs, {machine.library.edits} edits")
