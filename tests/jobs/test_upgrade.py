"""Questions during an upgrade: another process asks all the time while a space is built, promoted and rolled back."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.upgrade import Upgrade

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]


# Worth its time: nothing else shows what people who ask see of an upgrade. `make soak-upgrade` asks a thousand.
def test_every_question_is_answered_from_one_space_and_the_switch_is_seen_at_once(
    spark: SparkSession, tmp_path: Path, small: dict[str, str]
) -> None:
    upgrade = Upgrade(spark, tmp_path, None, small)
    summary = upgrade.go_through(answers=40)
    assert summary.pop("searches") >= 40
    assert summary == {
        "queries_of_postgresql": 0,
        "errors": [],
        "mixed": 0,
        "late_or_early": 0,
        "spaces": ["main", "next", "main", "next"],
        "spaces_in_postgresql": [],
    }
