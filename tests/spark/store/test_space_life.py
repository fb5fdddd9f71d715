"""Random lives of a library's spaces, compared with a model in plain Python after every step."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.refresh.spaces import Life

pytestmark = pytest.mark.spark


# Worth its time: the orders of refreshes, promotions, rollbacks, removals and deaths that nobody thinks of.
@pytest.mark.timeout(1200)
def test_after_every_step_one_space_is_active_and_readers_get_all_of_it(spark: SparkSession, tmp_path: Path) -> None:
    life = Life(spark, tmp_path, seed=7)
    for _ in range(24):
        life.step()
    kinds = {event.split()[0] for event in life.story}
    assert kinds >= {"embed", "promote", "roll", "drop", "refused:"}, life.story
