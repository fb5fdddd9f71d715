"""What an index target needs from an index library, and how thoroughly its index has to search."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Hits per query that are compared with exact search, and the recall that is enough. Once more effort finds no more,
# the lower effort is enough.
K = 10
_GOOD_RECALL, _FAIR_RECALL = 0.999, 0.99
_QUERIES = 128


class VectorIndex(Protocol):
    """An index in memory: float32 vectors by int64 keys, under the inner product."""

    def __len__(self) -> int: ...

    def is_outgrown(self, total: int) -> bool:
        """Whether a new index would be better for this many rows."""
        ...

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yields (n,) keys and (n, dimension) vectors until all have been read."""
        ...

    def remove(self, keys: NDArray[np.int64]) -> None:
        """Removes the vectors of these keys."""
        ...

    def add(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Adds (n, dimension) vectors under (n,) new keys."""
        ...

    def tune(self) -> dict[str, Any]:
        """Sets how thoroughly a search looks; returns the settings that `IndexKind.load` needs."""
        ...

    def save(self, path: Path) -> None:
        """Writes the file; raises OSError or RuntimeError if it cannot."""
        ...

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Returns (n, k) keys for (n, dimension) queries, best first; negative if there are no more."""
        ...


class IndexKind(Protocol):
    """An index library. Its constructor raises InputError if the package is not installed."""

    @property
    def name(self) -> str:
        """The kind's name in `--to`, and the suffix of its files."""
        ...

    def sample_size(self, total: int) -> int:
        """Number of vectors that `create` needs to see for an index of this many rows."""
        ...

    def create(self, dimension: int, total: int, sample: NDArray[np.float32]) -> VectorIndex:
        """Creates an empty index for this many rows; `sample` is (sample_size(total), dimension) of them."""
        ...

    def load(self, path: Path, settings: dict[str, Any]) -> VectorIndex:
        """Loads an index with the settings that its `tune` returned; raises RuntimeError or ValueError if damaged."""
        ...


def sample_vectors(blocks: Iterable[NDArray[np.float32]], total: int, size: int) -> NDArray[np.float32]:
    """Draws vectors at even intervals, the same ones each time.

    Args:
        blocks: (n, dimension) float32 each, with one or more rows, `total` in all.
        total: Rows of all blocks.
        size: Number of vectors to draw.

    Returns:
        (size or fewer, dimension) float32.
    """
    positions = np.unique(np.linspace(0, max(total - 1, 0), size).astype(np.int64))
    samples, start = [], 0
    for block in blocks:
        low, high = np.searchsorted(positions, [start, start + len(block)])
        # Indexing copies, so the block itself can be freed.
        samples.append(block[positions[low:high] - start])
        start += len(block)
    return np.concatenate(samples)


def least_effort(
    index: VectorIndex,
    exact_search: Callable[[NDArray[np.float32]], NDArray[np.int64]],
    search: Callable[[int, NDArray[np.float32]], NDArray[np.int64]],
    least: int,
    most: int,
) -> int:
    """Finds the lowest effort at which an index finds what an exact search finds.

    Args:
        index: The index, not empty.
        exact_search: Finds (n, K) keys for (n, dimension) queries exactly.
        search: Does the same with the index's own search at some effort.
        least: Minimum effort.
        most: Maximum effort, which cannot be improved upon.

    Returns:
        `least` or the first of its doublings that finds enough, or `most`.
    """
    queries = _sample_queries((vectors for _, vectors in index.blocks()), len(index))
    exact = exact_search(queries)
    effort, before = least, -1.0
    while effort < most:
        recall = _recall(search(effort, queries), exact)
        if recall >= _GOOD_RECALL or _FAIR_RECALL <= recall <= before:
            return effort
        effort, before = 2 * effort, recall
    return most


def _sample_queries(blocks: Iterable[NDArray[np.float32]], total: int) -> NDArray[np.float32]:
    """Builds queries as sums of two stored vectors, the same ones for the same blocks.

    A stored vector itself is found with next to no effort, because every index keeps its neighbors around it; real
    queries lie elsewhere.
    """
    sample = sample_vectors(blocks, total, _QUERIES)
    return sample + np.roll(sample, len(sample) // 2, axis=0)


def _recall(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """Share of the exact (n, k) keys that were found, without negative ones; 1 if there are none."""
    pairs = [(set(a[a >= 0].tolist()), set(b[b >= 0].tolist())) for a, b in zip(found, exact, strict=True)]
    total = sum(len(right) for _, right in pairs)
    return sum(len(left & right) for left, right in pairs) / total if total else 1.0
