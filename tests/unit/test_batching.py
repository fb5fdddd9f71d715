"""Batches of bounded cost: what they are for small examples, and what holds for all."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.batching import token_batches


@pytest.mark.parametrize(
    ("counts", "budget", "expected"),
    [
        pytest.param([], 100, [], id="no text"),
        pytest.param([5], 100, [[0]], id="one text"),
        pytest.param([10, 100, 20, 90], 200, [[1, 3], [2, 0]], id="like lengths together, longest first"),
        pytest.param([100, 100], 200, [[0, 1]], id="the budget may be filled"),
        pytest.param([100, 100], 199, [[0], [1]], id="and not exceeded"),
        pytest.param([60, 10, 10], 100, [[0], [1, 2]], id="padding counts: 60 + 10 would fit, 2 x 60 does not"),
        pytest.param([500, 600, 1], 100, [[1], [0], [2]], id="texts above the budget are alone"),
        pytest.param([7, 7, 7, 7], 14, [[0, 1], [2, 3]], id="equal lengths in their order"),
        pytest.param([0, 0, 0], 1, [[0, 1, 2]], id="texts without a token"),
    ],
)
def test_batches_by_hand(counts: list[int], budget: int, expected: list[list[int]]) -> None:
    assert list(token_batches(counts, budget)) == expected


@settings(max_examples=300, deadline=None, derandomize=True)
@given(counts=st.lists(st.integers(0, 600), max_size=60), budget=st.integers(1, 2000))
def test_laws_of_batches(counts: list[int], budget: int) -> None:
    batches = list(token_batches(counts, budget))
    order = [position for batch in batches for position in batch]
    assert sorted(order) == list(range(len(counts))), "each position once"
    assert order == sorted(order, key=lambda position: (-counts[position], position)), "longest first"
    assert all(batches), "no batch is empty"
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(counts[position] for position in batch) <= budget
    for batch, after in pairwise(batches):
        assert (len(batch) + 1) * counts[batch[0]] > budget, f"{after[0]} would have fitted"
    assert list(token_batches(counts, budget)) == batches, "deterministic"
