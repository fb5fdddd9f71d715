"""Embeddings in fewer bytes: one byte per number, scaled to the ranges of a space, or one bit per number."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.precision import OutputPrecision

# The minimum and maximum of each number over a sample of the library.
Ranges = tuple[tuple[float, ...], tuple[float, ...]]


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
