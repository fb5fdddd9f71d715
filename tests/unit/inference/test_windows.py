"""Windows over Arrow batches hold the same rows in the same order, in bounded pieces."""

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.inference.prefetch import windows


def batch(*texts: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.string())})


def texts_of(found: pa.RecordBatch) -> list[str]:
    return [str(text) for text in found.column("text").to_pylist()]


def lengths(sizes: list[int], rows: int) -> list[int]:
    return [found.num_rows for found in windows((batch(*["x"] * size) for size in sizes), rows=rows)]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([], [], id="no batch"),
        pytest.param([0, 0], [], id="empty batches"),
        pytest.param([1], [1], id="one row"),
        pytest.param([2, 0, 3], [5], id="small batches join"),
        pytest.param([4, 6], [10], id="up to the bound"),
        pytest.param([4, 7], [4, 7], id="a batch that does not fit opens the next window"),
        pytest.param([25], [10, 10, 5], id="a large batch is cut"),
        pytest.param([3, 25, 4], [3, 10, 10, 9], id="and its rest is joined"),
    ],
)
def test_windows_have_the_expected_lengths(sizes: list[int], expected: list[int]) -> None:
    assert lengths(sizes, rows=10) == expected


@pytest.mark.parametrize("sizes", [[40_000], [500] * 80, [3000, 37_000]])
def test_the_first_windows_are_small_and_grow(sizes: list[int]) -> None:
    found = lengths(sizes, rows=16_384)
    assert sum(found) == sum(sizes)
    assert found[0] <= 1024
    assert all(later <= 1024 * 2**number for number, later in enumerate(found))
    assert max(found) > 8192


def test_a_window_is_closed_before_it_has_too_many_bytes() -> None:
    # Besides the characters, offsets take a few bytes per row.
    batches = [batch("v" * 42), batch("w" * 42), batch("x" * 142), batch("y" * 12), batch("z" * 12)]
    found = [texts_of(window) for window in windows(iter(batches), size=100)]
    assert found == [["v" * 42, "w" * 42], ["x" * 142], ["y" * 12, "z" * 12]]


def test_batches_are_taken_one_at_a_time() -> None:
    taken = []

    def source() -> Iterator[pa.RecordBatch]:
        for number in range(10):
            taken.append(number)
            yield batch(str(number))

    first = next(windows(source(), rows=2))
    assert texts_of(first) == ["0", "1"]
    assert len(taken) <= 3


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    batches=st.lists(st.lists(st.text(max_size=8), max_size=12), max_size=8),
    rows=st.integers(1, 15),
    size=st.integers(1, 200),
)
def test_windows_hold_the_same_rows_in_the_same_order(batches: list[list[str]], rows: int, size: int) -> None:
    found = list(windows((batch(*texts) for texts in batches), rows, size))
    assert [text for window in found for text in texts_of(window)] == [text for texts in batches for text in texts]
    assert all(0 < window.num_rows <= rows for window in found)
    longest = max((batch(*texts).nbytes for texts in batches), default=0)
    # Rows of several batches take no more room together than apart.
    assert all(window.nbytes <= max(size, longest) for window in found)
    assert all(window.schema == batch().schema for window in found)
    for window in found:
        window.validate(full=True)
