"""Random refreshes compared with an oracle in plain Python, with crashes after commits and runs that are overtaken."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.refresh.campaign import AFTER, SHUT_OUT, drive
from tests.support.refresh.machine import FIRST, Machine

pytestmark = pytest.mark.spark


# Worth its time: each failpoint costs one run, and another run repairs what the crash left.
@pytest.mark.timeout(1800)
def test_after_every_success_the_tables_equal_the_oracle(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it were so large that rows without changes are spared; the other test of the model reads all.
    monkeypatch.setattr("spark_jobs.embedding.store_state._LARGE", 0)
    machine = Machine(spark, tmp_path, seed=21)
    drive(machine, FIRST[5:], AFTER, retries=1)
    assert {name for name, _ in FIRST[5:] + AFTER} == set(machine.reached)
    # The run after a crash also crashes, while it shuts out the first.
    machine.change(60)
    assert machine.crash(("plan.after", 1), slice_tokens=300)
    for point in SHUT_OUT:
        assert machine.crash(point), point
    machine.overtake(machine.random.choice([("vectors.before", 2), ("ledger.before", 2), ("plan.after", 1)]))
    assert machine.faults == [], "\n".join(machine.story[-6:])
