"""Embeddings in fewer bytes: one byte a number by the ranges of a space, or one bit a number."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.precision import OutputPrecision

# Lowest and highest value of each number over a sample of the library.
Ranges = tuple[tuple[float, ...], tuple[float, ...]]


def quantized(matrix: NDArray[np.float32], precision: OutputPrecision, ranges: Ranges | None) -> NDArray[Any]:
    """Brings embeddings into the form in which they are stored.

    The rule is that of `sentence_transformers.util.quantization.quantize_embeddings`: int8 divides each number's range
    into 255 steps and cuts what lies outside; binary packs the signs of eight numbers into a byte, less 128.

    Args:
        matrix: (n, dimension) float32.
        precision: How numbers are stored.
        ranges: Ranges of the space, for int8; never those of the batch, for these would differ from batch to batch.

    Returns:
        (n, dimension) float32 or int8, or (n, dimension / 8) int8.

    Raises:
        ValueError: int8 without ranges.
    """
    if precision == "float32":
        return matrix
    if precision == "int8" and ranges is None:
        raise ValueError("int8 needs the ranges of the space")
    # Imports torch, which costs seconds and which float32 of a fake model does without.
    from sentence_transformers.util.quantization import quantize_embeddings

    bounds = np.asarray(ranges, dtype=np.float32) if precision == "int8" else None
    return np.asarray(quantize_embeddings(matrix, precision=precision, ranges=bounds))


def restored(stored: ArrayLike, precision: OutputPrecision, ranges: Ranges | None) -> NDArray[np.float32]:
    """Brings stored embeddings back to numbers that compare, as near as their form allows.

    Args:
        stored: (dimension,) or (n, dimension); entries of the arrays, a byte for eight numbers where binary.
        precision: How numbers are stored.
        ranges: Ranges of the space, for int8.

    Returns:
        As many float32 as numbers were stored: the middle of each step for int8, -1 or 1 for binary.
    """
    if precision == "float32":
        return np.asarray(stored, dtype=np.float32)
    if precision == "binary":
        bits = np.unpackbits((np.asarray(stored, dtype=np.int16) + 128).astype(np.uint8), axis=-1)
        return np.where(bits == 1, np.float32(1), np.float32(-1))
    low, high = (np.asarray(values, dtype=np.float64) for values in ranges or ((), ()))
    return (low + (np.asarray(stored, dtype=np.float64) + 128.5) * (high - low) / 255).astype(np.float32)
