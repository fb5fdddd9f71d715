"""Random refreshes compared with an oracle in plain Python, with crashes before commits and during store creation."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.refresh.campaign import AFTER, BEFORE, SHUT_OUT, drive
from tests.support.refresh.machine import FAILPOINTS, FIRST, Machine

pytestmark = pytest.mark.spark


# Worth its time: each failpoint costs one run, and another run repairs what the crash left.
@pytest.mark.timeout(1800)
def test_after_every_success_the_tables_equal_the_oracle(spark: SparkSession, tmp_path: Path) -> None:
    machine = Machine(spark, tmp_path, seed=20)
    drive(machine, FIRST[:5], BEFORE)
    assert {name for name, _ in FIRST[:5] + BEFORE} == set(machine.reached)


def test_no_failpoint_is_left_out() -> None:
    assert {name for name, _ in BEFORE + AFTER} == {name for name, _ in FAILPOINTS}
    assert set(BEFORE + AFTER + SHUT_OUT) <= set(FAILPOINTS)
