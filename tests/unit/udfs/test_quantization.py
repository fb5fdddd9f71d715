"""Quantized embeddings: values computed by hand, and properties of all values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.precision import stored_dimension
from schemas.vectors import embedding_type
from udfs.quantization import quantized, restored

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
