"""How work is cut into slices, and when a plan is refused."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from spark_jobs.planning import Slice, Work, cut_slices, guard_removals, partition_count

Key = tuple[int, int, int, int]


@pytest.mark.parametrize(
    ("keys", "slice_tokens", "expected"),
    [
        pytest.param([], 100, [], id="no work"),
        pytest.param([(5, 7, 2, 1)], 100, [Slice(1, 5, 5, 7, 2, 1)], id="one key"),
        pytest.param(
            [(1, 40, 2, 1), (3, 60, 1, 1)],
            100,
            [Slice(1, 1, 3, 100, 3, 2)],
            id="keys that fill the bound share a slice",
        ),
        pytest.param(
            [(1, 40, 2, 1), (3, 61, 1, 1)],
            100,
            [Slice(1, 1, 1, 40, 2, 1), Slice(2, 3, 3, 61, 1, 1)],
            id="one token more does not",
        ),
        pytest.param(
            [(9, 50, 1, 1), (2, 500, 1, 1), (4, 50, 1, 1)],
            100,
            [Slice(1, 2, 2, 500, 1, 1), Slice(2, 4, 9, 100, 2, 2)],
            id="a key beyond the bound is alone, and keys come in any order",
        ),
        pytest.param(
            [(1, 100, 1, 1), (2, 0, 3, 0), (3, 0, 4, 0), (4, 1, 1, 1)],
            100,
            [Slice(1, 1, 3, 100, 8, 1), Slice(2, 4, 4, 1, 1, 1)],
            id="removals cost nothing",
        ),
        pytest.param([(0, 0, 5, 0), (4095, 0, 5, 0)], 1, [Slice(1, 0, 4095, 0, 10, 0)], id="nothing to embed"),
    ],
)
def test_slices_by_hand(keys: list[Key], slice_tokens: int, expected: list[Slice]) -> None:
    assert cut_slices(keys, slice_tokens) == tuple(expected)


KEYS = st.lists(
    st.tuples(st.integers(0, 4095), st.integers(0, 300), st.integers(1, 9), st.integers(0, 9)),
    max_size=40,
    unique_by=lambda key: key[0],
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(keys=KEYS, slice_tokens=st.integers(1, 500))
def test_slices_part_the_keys(keys: list[Key], slice_tokens: int) -> None:
    slices = cut_slices(keys, slice_tokens)
    assert [part.number for part in slices] == list(range(1, len(slices) + 1))
    assert all(part.first_key <= part.last_key for part in slices)
    assert all(before.last_key < after.first_key for before, after in pairwise(slices))
    for part in slices:
        members = [key for key in keys if part.first_key <= key[0] <= part.last_key]
        assert members, "a slice without a document"
        assert (part.tokens, part.documents, part.to_embed) == tuple(sum(key[i] for key in members) for i in (1, 2, 3))
        assert part.tokens <= slice_tokens or len([key for key in members if key[1]]) == 1
    assert sum(part.documents for part in slices) == sum(key[2] for key in keys)
    for before, after in pairwise(slices):
        first = min(key for key in keys if key[0] >= after.first_key)
        assert before.tokens + first[1] > slice_tokens, "closed too early"
    assert cut_slices(list(reversed(keys)), slice_tokens) == slices


def test_work_sums_the_tokens_of_its_slices() -> None:
    assert Work({}, cut_slices([(1, 40, 1, 1), (2, 70, 1, 1)], 50)).tokens == 110
    assert Work({}, ()).tokens == 0


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, 1), (1, 1), (50_000, 1), (50_001, 2), (100_000, 2), (25_600_000, 512), (10**12, 512)],
)
def test_partitions_grow_with_the_work_up_to_a_bound(tokens: int, expected: int) -> None:
    assert partition_count(tokens) == expected


def test_partitions_of_another_size() -> None:
    assert [partition_count(tokens, partition_tokens=10, most=3) for tokens in (10, 11, 21, 31)] == [1, 2, 3, 3]


@pytest.mark.parametrize(
    ("removed", "documents", "most"),
    [
        (0, 0, 0.0),
        (0, 10, 0.0),
        (3, 10, 0.3),
        (10, 10, 1.0),
        (1, 1, 1.0),
        # Shares that a float product falls just short of.
        (29, 100, 0.29),
        (57, 100, 0.57),
        (7, 100, 0.07),
    ],
)
def test_removals_up_to_the_share_pass(removed: int, documents: int, most: float) -> None:
    guard_removals(removed, documents, most)


@pytest.mark.parametrize(
    ("removed", "documents", "most"), [(1, 10, 0.0), (4, 10, 0.3), (10, 10, 0.99), (30, 100, 0.29)]
)
def test_removals_beyond_the_share_are_refused(removed: int, documents: int, most: float) -> None:
    with pytest.raises(InputError) as caught:
        guard_removals(removed, documents, most)
    assert str(caught.value) == (
        f"{removed} of {documents} documents are gone from the source, more than run.max_removed_fraction {most} "
        "allows: check the source; if they are meant to go, run again with --allow-removals"
    )
