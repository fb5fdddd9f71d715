"""How work is cut into slices, and when a plan is refused."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from spark_jobs.embedding.slicing import Group, Slice, Work, fits_in_memory, guard_removals, next_slice, reading_pays
from spark_jobs.runtime.parallelism import partition_count
from spark_jobs.settings.sections import RunSettings

Key = tuple[int, ...]


def cut_slices(keys: list[Key], slice_tokens: int, slice_rows: int = 10**9) -> tuple[Slice, ...]:
    """Cuts slices of the same bounds until no work is left."""
    groups, slices = tuple(Group(*key) for key in sorted(keys)), []
    while groups:
        slice_, groups = next_slice(groups, len(slices) + 1, slice_tokens, slice_rows)
        slices.append(slice_)
    return tuple(slices)


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
def test_slices_match_those_cut_by_hand(keys: list[Key], slice_tokens: int, expected: list[Slice]) -> None:
    assert cut_slices(keys, slice_tokens) == tuple(expected)


def test_rows_without_tokens_close_a_slice_too() -> None:
    # Three documents with new payload only, two that are removed, and one key of an added document among them.
    keys = [(1, 0, 3, 0, 0, 600), (2, 0, 1, 0, 0, 400), (3, 50, 1, 1, 1, 0), (4, 0, 1, 0, 0, 1), (5, 0, 1, 0, 0, 5000)]
    assert cut_slices(keys, 100, 1000) == (
        Slice(1, 1, 3, 50, 5, 1, 1),
        Slice(2, 4, 4, 0, 1, 0, 0),
        Slice(3, 5, 5, 0, 1, 0, 0),
    )


KEYS = st.lists(
    st.tuples(st.integers(0, 4095), st.integers(0, 300), st.integers(1, 9), st.integers(0, 9)),
    max_size=40,
    unique_by=lambda key: key[0],
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(keys=KEYS, slice_tokens=st.integers(1, 500))
def test_every_key_is_in_exactly_one_slice(keys: list[Key], slice_tokens: int) -> None:
    slices = cut_slices(keys, slice_tokens)
    assert [slice_.number for slice_ in slices] == list(range(1, len(slices) + 1))
    assert all(slice_.first_key <= slice_.last_key for slice_ in slices)
    assert all(before.last_key < after.first_key for before, after in pairwise(slices))
    for slice_ in slices:
        members = [key for key in keys if slice_.first_key <= key[0] <= slice_.last_key]
        assert members, "a slice without a document"
        assert (slice_.tokens, slice_.documents, slice_.to_embed) == tuple(
            sum(key[i] for key in members) for i in (1, 2, 3)
        )
        assert slice_.tokens <= slice_tokens or len([key for key in members if key[1]]) == 1
    assert sum(slice_.documents for slice_ in slices) == sum(key[2] for key in keys)
    for before, after in pairwise(slices):
        first = min(key for key in keys if key[0] >= after.first_key)
        assert before.tokens + first[1] > slice_tokens, "closed too early"
    assert cut_slices(list(reversed(keys)), slice_tokens) == slices


def test_work_sums_the_tokens_of_its_groups() -> None:
    assert Work({}, (Group(1, 40, 1, 1), Group(2, 70, 1, 1)), "full comparison").tokens == 110
    assert Work({}, (), "full comparison").tokens == 0


@pytest.mark.parametrize(
    ("texts", "stored_rows", "expected"),
    [(0, 0, False), (0, 10, False), (1, 0, False), (1, 500, True), (1, 501, False), (2, 1_000, True)],
)
def test_vectors_are_read_when_reading_costs_less_than_embedding(texts: int, stored_rows: int, expected: bool) -> None:
    assert reading_pays(texts, stored_rows) is expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, 1), (1, 1), (50_000, 1), (50_001, 2), (100_000, 2), (400_000, 8), (400_001, 8), (10**12, 8)],
)
def test_first_partitions_grow_with_the_work_up_to_eight_tasks_a_slot(tokens: int, expected: int) -> None:
    assert partition_count(tokens) == expected


def test_the_number_of_partitions_is_bounded() -> None:
    assert partition_count(10**12, 4, 1) == 512


@pytest.mark.parametrize(
    ("tokens", "slots", "tokens_per_second", "expected"),
    [
        pytest.param(50_001, 2, 0, 2, id="as many as slots"),
        pytest.param(100_001, 2, 0, 4, id="whole rounds"),
        pytest.param(120_000, 8, 0, 3, id="too little for all slots"),
        pytest.param(10**12, 1000, 0, 1000, id="more slots than the bound"),
        # 25,000 tokens a second and slot, for thirty seconds.
        pytest.param(6_000_000, 4, 100_000, 8, id="longer ones for a fast model"),
        pytest.param(800_000, 4, 1_000_000, 4, id="no idle slot however fast"),
        pytest.param(800_000, 4, 100, 16, id="no shorter ones for a slow model"),
    ],
)
def test_partitions_are_multiples_of_the_slots(
    tokens: int, slots: int, tokens_per_second: float, expected: int
) -> None:
    assert partition_count(tokens, slots, tokens_per_second) == expected


@pytest.mark.parametrize(
    ("removed", "known", "left", "most"),
    [
        (0, 0, 5, 0.0),
        (0, 10, 10, 0.0),
        (3, 10, 7, 0.3),
        (10, 10, 4, 1.0),
        (0, 0, 0, 0.0),
        # Shares that a float product falls just short of.
        (29, 100, 71, 0.29),
        (57, 100, 43, 0.57),
        (7, 100, 93, 0.07),
    ],
)
def test_removals_up_to_the_limit_pass(removed: int, known: int, left: int, most: float) -> None:
    guard_removals(removed, known, left, most)


@pytest.mark.parametrize(
    ("removed", "known", "left", "most"), [(1, 10, 9, 0.0), (4, 10, 6, 0.3), (10, 10, 5, 0.99), (30, 100, 70, 0.29)]
)
def test_removals_beyond_the_limit_are_refused(removed: int, known: int, left: int, most: float) -> None:
    with pytest.raises(InputError) as caught:
        guard_removals(removed, known, left, most)
    assert str(caught.value) == (
        f"{removed} of {known} documents are gone from the source, more than run.max_removed_fraction {most} "
        "allows. Check the source; if the removals are intended, run again with --allow-removals."
    )


def test_an_empty_source_is_refused_whatever_the_limit() -> None:
    with pytest.raises(InputError, match=r"10 of 10 documents are gone from the source, which has none left\. Check"):
        guard_removals(10, 10, 0, 1.0)


@pytest.mark.parametrize(
    ("changed", "fits"),
    [
        ({}, True),
        ({"tokens": 1_001}, False),
        ({"documents": 25_001}, False),
        ({"documents": 20_000, "stored_chunks": 5_001}, False),
        ({"size": (16 << 20) + 1}, False),
        # 20,000 vectors of 4,096 numbers are 328 MB.
        ({"documents": 20_000, "dimension": 4_096}, False),
        ({"documents": 4_000, "dimension": 4_096}, True),
    ],
)
def test_small_work_is_held_in_memory(changed: dict[str, int], fits: bool) -> None:
    work = {"documents": 10, "tokens": 1_000, "size": 100, "stored_chunks": 0, "dimension": 384}
    assert fits_in_memory(RunSettings(memory_tokens=1_000), **{**work, **changed}) is fits
    # A slice of its own is never larger than the setting says.
    assert not fits_in_memory(RunSettings(slice_tokens=999), **work)
