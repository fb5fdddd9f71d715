"""Embeddings in fewer bytes: one byte per number, scaled to the ranges of a space, or one bit per number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.precision import OutputPrecision

# The minimum and maximum of each number over a sample of the library.
Ranges = tuple[tuple[float, ...], tuple[float, ...]]
# Of the values of further texts, 2 / (n + 1) lie outside the minimum and maximum of n texts: 1 % with this many, which
# quantizers that work with quantiles cut off on purpose. sentence-transformers warns below 100 texts, where it is 2 %.
LEAST_TEXTS = 200
# How far ranges reach beyond the largest value seen, where the texts are too few to tell the range of each number.
_WIDENED = 2.0
# Fewer texts do not show that a number has collapsed: of n texts that made the ranges, two are at the ends.
_LEAST_JUDGED = 16
_COLLAPSED_SHARE = 0.5


def settled_ranges(low: Sequence[float], high: Sequence[float], texts: int, is_unit: bool) -> Ranges:
    """Decides the ranges of a space from the values of a sample.

    Args:
        low: Lowest value of each number in the sample.
        high: Highest value of each number in the sample.
        texts: Number of different texts in the sample.
        is_unit: Whether vectors have unit length, so that no value exceeds 1.

    Returns:
        The given values, if there are at least `LEAST_TEXTS` texts. Otherwise one symmetric range for all numbers,
        twice as wide as the largest value: a few vectors show how large values are, but not the range of each number.
        A number that is the same in all texts gets that range too, because its own has no width.
    """
    reach = _WIDENED * max(abs(value) for value in (*low, *high))
    reach = min(reach, 1.0) if is_unit else reach
    pairs = list(zip(low, high, strict=True))
    pairs = [(a, b) if texts >= LEAST_TEXTS and a < b else (-reach, reach) for a, b in pairs]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def are_widened(ranges: Ranges) -> bool:
    """Whether ranges come from too few texts: then they are the same for every number."""
    return all(len(set(values)) == 1 for values in ranges)


def clipped_values(matrix: NDArray[np.float32], ranges: Ranges) -> int:
    """Counts the values of (n, dimension) float32 that lie outside the ranges, so that int8 cannot hold them."""
    low, high = (np.asarray(values, dtype=np.float32) for values in ranges)
    return int(np.count_nonzero((matrix < low) | (matrix > high)))


def collapsed_numbers(stored: NDArray[Any]) -> int:
    """Counts the numbers of int8 embeddings that no longer tell texts apart, because ranges do not fit them.

    Args:
        stored: (n, dimension) bytes, embeddings of n different texts.

    Returns:
        How many numbers at least half of the texts have at an end of the range; 0 if there are too few texts to judge.
    """
    if len(stored) < _LEAST_JUDGED:
        return 0
    share_at_ends = ((stored == -128) | (stored == 127)).mean(axis=0)
    return int(np.count_nonzero(share_at_ends >= _COLLAPSED_SHARE))


def quantized(matrix: NDArray[np.float32], precision: OutputPrecision, ranges: Ranges | None) -> NDArray[Any]:
    """Converts embeddings to their storage format.

    Follows `sentence_transformers.util.quantization.quantize_embeddings`: int8 divides each number's range into 255
    steps and clips values outside it; binary packs sign bits eight to a byte, minus 128.

    Args:
        matrix: (n, dimension) float32.
        precision: The storage format of embeddings.
        ranges: Ranges of the space, for int8. Ranges of the batch would differ from batch to batch.

    Returns:
        (n, dimension) float32 or int8, or (n, dimension / 8) int8.

    Raises:
        ValueError: The precision is int8 and there are no ranges.
    """
    if precision == "float32":
        return matrix
    if precision == "int8" and ranges is None:
        raise ValueError("int8 needs the ranges of the space")
    # This imports torch, which takes seconds and is not needed for a fake model in float32.
    from sentence_transformers.util.quantization import quantize_embeddings

    bounds = np.asarray(ranges, dtype=np.float32) if precision == "int8" else None
    return np.asarray(quantize_embeddings(matrix, precision=precision, ranges=bounds))


def restored(stored: ArrayLike, precision: OutputPrecision, ranges: Ranges | None) -> NDArray[np.float32]:
    """Converts stored embeddings back to float32, as closely as their format allows.

    Args:
        stored: (length,) or (n, length), the entries of the stored arrays; one byte per eight numbers for binary.
        precision: The storage format of embeddings.
        ranges: Ranges of the space, for int8.

    Returns:
        (dimension,) or (n, dimension) float32: the middle of each step for int8, -1 or 1 for binary.
    """
    if precision == "float32":
        return np.asarray(stored, dtype=np.float32)
    if precision == "binary":
        bits = np.unpackbits((np.asarray(stored, dtype=np.int16) + 128).astype(np.uint8), axis=-1)
        return np.where(bits == 1, np.float32(1), np.float32(-1))
    low, high = (np.asarray(values, dtype=np.float64) for values in ranges or ((), ()))
    return (low + (np.asarray(stored, dtype=np.float64) + 128.5) * (high - low) / 255).astype(np.float32)
