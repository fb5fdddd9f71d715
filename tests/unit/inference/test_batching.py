"""Batches of bounded cost: small examples, and properties of all batches."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.inference.passes import batch_cost, fitting, longest_first


def batches_of(lengths: list[int], budget: int, is_padded: bool = True) -> list[list[int]]:
    order, found = longest_first(lengths), []
    while order:
        size = fitting([lengths[position] for position in order], budget, is_padded)
        found.append(order[:size])
        order = order[size:]
    return found


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
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
def test_padded_batches_match_those_formed_by_hand(lengths: list[int], budget: int, expected: list[list[int]]) -> None:
    assert batches_of(lengths, budget) == expected


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        pytest.param([60, 10, 10], 100, [[0, 1, 2]], id="nothing is padded"),
        pytest.param([60, 30, 20], 100, [[0, 1], [2]], id="up to the sum"),
        pytest.param([600, 30], 100, [[0], [1]], id="a text above the budget is alone"),
    ],
)
def test_batches_without_padding_match_those_formed_by_hand(
    lengths: list[int], budget: int, expected: list[list[int]]
) -> None:
    assert batches_of(lengths, budget, is_padded=False) == expected


@pytest.mark.parametrize(("is_padded", "expected"), [(True, 30), (False, 16)])
def test_the_cost_of_a_batch_counts_padding(is_padded: bool, expected: int) -> None:
    assert batch_cost([10, 5, 1], is_padded) == expected
    assert batch_cost([], is_padded) == 0


@settings(max_examples=300, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(0, 600), max_size=60), budget=st.integers(1, 2000), is_padded=st.booleans())
def test_batches_of_any_texts_are_full_and_longest_first(lengths: list[int], budget: int, is_padded: bool) -> None:
    batches = batches_of(lengths, budget, is_padded)
    order = [position for batch in batches for position in batch]
    assert sorted(order) == list(range(len(lengths))), "each position once"
    assert order == sorted(order, key=lambda position: (-lengths[position], position)), "longest first"
    for batch in batches:
        assert len(batch) == 1 or batch_cost([lengths[position] for position in batch], is_padded) <= budget
    for batch, after in pairwise(batches):
        together = [lengths[position] for position in [*batch, after[0]]]
        assert batch_cost(together, is_padded) > budget, "the next one would have fitted"
