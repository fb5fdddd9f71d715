"""Quantized embeddings: values computed by hand, and properties of all values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.precision import stored_dimension
from schemas.vectors import embedding_type
from udfs.quantization import (
    LEAST_TEXTS,
    Ranges,
    are_widened,
    clipped_values,
    collapsed_numbers,
    quantized,
    restored,
    settled_ranges,
)

RANGES = ((-1.0, 0.0), (1.0, 2.55))


def test_int8_uses_one_byte_per_number_and_the_given_ranges() -> None:
    matrix = np.array([[-1.0, 0.0], [0.995, 2.545], [0.0, 1.275], [-9.0, 9.0]], dtype=np.float32)
    found = quantized(matrix, "int8", RANGES)
    assert found.dtype == np.int8
    # Steps of 2/255 and 0.01; values outside the range are clipped.
    assert found.tolist() == [[-128, -128], [126, 126], [-1, -1], [-128, 127]]


def test_binary_uses_one_bit_per_number() -> None:
    matrix = np.array([[1, -1, 1, -1, 1, -1, 1, -1, 0, 0, 0, 0, 0, 0, 0, 0.5]], dtype=np.float32)
    found = quantized(matrix, "binary", None)
    assert (found.dtype, found.tolist()) == (np.int8, [[0b10101010 - 128, 0b00000001 - 128]])
    assert restored(found[0].tolist(), "binary", None).tolist() == [1, -1, 1, -1, 1, -1, 1, -1, *[-1] * 7, 1]


def test_float32_stays_as_it_is() -> None:
    matrix = np.array([[0.1, -0.2]], dtype=np.float32)
    assert quantized(matrix, "float32", None) is matrix
    assert restored(matrix[0].tolist(), "float32", None).tolist() == matrix[0].tolist()


def test_ranges_never_come_from_the_batch() -> None:
    with pytest.raises(ValueError, match="int8 needs the ranges of the space"):
        quantized(np.zeros((2, 2), dtype=np.float32), "int8", None)


def unit_vectors(count: int, dimension: int = 64) -> NDArray[np.float32]:
    """Vectors about a common mean, as those of language models are."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((count, dimension)) + generator.standard_normal(dimension)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def ranges_of(sample: NDArray[np.float32], is_unit: bool = True) -> Ranges:
    return settled_ranges(sample.min(axis=0).tolist(), sample.max(axis=0).tolist(), len(sample), is_unit)


def test_ranges_are_those_of_the_texts_if_there_are_enough_and_wide_ones_if_not() -> None:
    low, high = [-0.2, 0.0, 0.1], [0.1, 0.3, 0.1]
    # The last number is the same in all texts.
    assert settled_ranges(low, high, 200, True) == ((-0.2, 0.0, -0.6), (0.1, 0.3, 0.6))
    assert settled_ranges(low, high, 199, True) == ((-0.6,) * 3, (0.6,) * 3)
    assert settled_ranges([-0.7], [0.1], 1, True) == ((-1.0,), (1.0,))
    assert settled_ranges([-0.7], [0.1], 1, False) == ((-1.4,), (1.4,))
    assert are_widened(settled_ranges(low, high, 199, True))
    assert not are_widened(settled_ranges(low, high, 200, True))


@pytest.mark.parametrize("texts", [1, 2, 5, 50, LEAST_TEXTS - 1])
def test_few_texts_give_ranges_that_fit_many(texts: int) -> None:
    vectors = unit_vectors(1000)
    ranges = ranges_of(vectors[:texts])
    assert clipped_values(vectors, ranges) == 0
    stored = quantized(vectors, "int8", ranges)
    assert len(np.unique(stored, axis=0)) == 1000
    found = restored(stored, "int8", ranges)
    assert ((found * vectors).sum(axis=1) / np.linalg.norm(found, axis=1)).min() > 0.999
    assert collapsed_numbers(stored) == 0


def test_just_enough_texts_leave_out_a_hundredth_of_the_values() -> None:
    vectors = unit_vectors(5000)
    share = clipped_values(vectors[LEAST_TEXTS:], ranges_of(vectors[:LEAST_TEXTS])) / vectors[LEAST_TEXTS:].size
    assert 0.005 < share < 0.015


def test_clipped_values_are_those_outside_the_ranges() -> None:
    matrix = np.array([[-1.0, 0.0], [1.0, 2.55], [-1.01, 2.56], [0.0, -0.1]], dtype=np.float32)
    assert clipped_values(matrix, RANGES) == 3
    assert clipped_values(matrix[:2], RANGES) == 0


def test_collapsed_numbers_are_at_the_ends_of_ranges_that_do_not_fit() -> None:
    vectors = unit_vectors(500)
    of_one = (tuple(vectors[0].tolist()),) * 2
    assert collapsed_numbers(quantized(vectors, "int8", of_one)) == 64
    fitting = (tuple(vectors.min(axis=0).tolist()), tuple(vectors.max(axis=0).tolist()))
    assert collapsed_numbers(quantized(vectors, "int8", fitting)) == 0
    one_wrong = (fitting[0], (vectors[:, 0].min() + 1e-4, *fitting[1][1:]))
    assert collapsed_numbers(quantized(vectors, "int8", one_wrong)) == 1
    assert collapsed_numbers(quantized(vectors[:15], "int8", of_one)) == 0, "too few to judge"
    assert collapsed_numbers(np.empty((0,))) == 0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(values=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=12))
def test_a_stored_number_comes_back_within_a_step_and_apart_from_its_neighbours(values: list[float]) -> None:
    ranges = (tuple([-1.0] * len(values)), tuple([1.0] * len(values)))
    row = np.array([values], dtype=np.float32)
    found = quantized(row, "int8", ranges)
    assert np.abs(restored(found[0].tolist(), "int8", ranges) - row[0]).max() <= 2 / 255
    both = quantized(np.vstack([row, np.full_like(row, 0.25)]), "int8", ranges)
    assert np.array_equal(both[0], found[0])


@pytest.mark.parametrize(
    ("precision", "entries", "type_name"),
    [("float32", 384, "array<float>"), ("int8", 384, "array<tinyint>"), ("binary", 48, "array<tinyint>")],
)
def test_stored_embeddings_have_the_length_and_type_of_their_precision(
    precision: str, entries: int, type_name: str
) -> None:
    assert stored_dimension(384, precision) == entries  # type: ignore[arg-type]
    assert embedding_type(precision).simpleString() == type_name  # type: ignore[arg-type]
