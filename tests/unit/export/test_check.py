"""Counts and neighbours at the end of an export."""

from typing import Any

import pytest

from schemas.errors import ReconciliationError
from spark_jobs.export.check import check_count, recall
from tests.support.export_spaces import space_of

EXACT = {0: [("a", 1.0), ("b", 0.9), ("c", 0.5)], 1: [("d", 0.4), ("e", -0.1), ("f", -0.2)]}


def test_a_count_mismatch_has_its_own_exit_code() -> None:
    check_count(space_of(), "parquet:/out", 2)
    with pytest.raises(
        ReconciliationError, match=r"parquet:/out holds 3 rows, .* has 2 at version 1: .*--full"
    ) as found:
        check_count(space_of(), "parquet:/out", 3)
    assert found.value.exit_code == 6


@pytest.mark.parametrize(
    ("found", "k", "expected"),
    [
        ([["a", "b"], ["d", "e"]], 2, 1.0),
        ([["b", "a"], ["e", "d"]], 2, 1.0),
        ([["a", "c"], ["d", "e"]], 2, 0.75),
        ([["a"], []], 2, 0.25),
        ([["a", "a"], ["x", "y"]], 2, 0.25),
        # More than were asked for do not help.
        ([["c", "a"], ["f", "d"]], 1, 0.0),
        # As many as there are are all that can be found.
        ([["a", "b", "c"], ["d", "e", "f"]], 10, 1.0),
    ],
)
def test_recall_is_the_share_of_true_neighbours(found: list[list[str]], k: int, expected: float) -> None:
    assert recall(found, EXACT, k) == expected


@pytest.mark.parametrize("second", [0.5, 0.499999])
def test_rows_that_are_equally_near_are_equally_right(second: float) -> None:
    exact: Any = {0: [("a", 1.0), ("b", 0.5), ("c", second), ("d", 0.4)]}
    assert recall([["a", "c"]], exact, 2) == 1.0
    assert recall([["a", "d"]], exact, 2) == 0.5


def test_negative_products_tie_like_positive_ones() -> None:
    exact: Any = {0: [("a", -0.5), ("b", -0.5000001), ("c", -0.6)]}
    assert recall([["b"]], exact, 1) == 1.0
    assert recall([["c"]], exact, 1) == 0.0


def test_recall_without_queries_is_0() -> None:
    assert recall([], {}, 10) == 0.0
