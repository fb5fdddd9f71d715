"""What a folder with an index needs of the library that makes it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Hits that are compared, and the share that is enough; where more effort finds no more, `_FAIR` will do.
K = 10
_WANTED, _FAIR = 0.999, 0.99
# Vectors asked for.
_ASKED = 128


class VectorIndex(Protocol):
    """An index in memory: float32 vectors by int64 keys, under the inner product."""

    def __len__(self) -> int: ...

    def is_outgrown(self, total: int) -> bool:
        """Tells whether an index made anew would be better for so many rows."""
        ...

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yields (n,) keys and (n, dimension) vectors, of all that it holds."""
        ...

    def remove(self, keys: NDArray[np.int64]) -> None:
        """Takes the vectors of these keys out."""
        ...

    def add(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Puts (n, dimension) vectors in, under (n,) keys that it does not hold."""
        ...

    def tune(self) -> dict[str, Any]:
        """Sets how hard a search looks; returns what `load` has to be told."""
        ...

    def save(self, path: Path) -> None:
        """Writes the file; OSError or RuntimeError where it cannot."""
        ...

    def search(self, asked: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Returns (n, k) keys for (n, dimension) vectors, best first; negative where there are no more."""
        ...


class IndexKind(Protocol):
    """A library of indexes."""

    @property
    def name(self) -> str:
        """The kind's name in `--to`, and the suffix of its files."""
        ...

    def check(self) -> None:
        """Raises InputError where its package is not installed."""
        ...

    def sample_rows(self, total: int) -> int:
        """Returns how many vectors `make` wants to see for an index of so many."""
        ...

    def make(self, dimension: int, total: int, sample: NDArray[np.float32]) -> VectorIndex:
        """Returns an empty index for so many rows."""
        ...

    def load(self, path: Path, said: dict[str, Any]) -> VectorIndex:
        """Returns the index of a file, with what its `tune` returned; RuntimeError, ValueError where it is damaged."""
        ...


def asked_of(blocks: Iterable[NDArray[np.float32]], total: int) -> NDArray[np.float32]:
    """Makes vectors to ask for: sums of two that the index holds.

    One that it holds is found with next to no effort, because its neighbours lie around it in any index; a question
    of somebody lies elsewhere.

    Args:
        blocks: (n, dimension) float32 each, of `total` rows together, at least one.
        total: Rows of all blocks.

    Returns:
        (n, dimension) float32, the same ones for the same blocks.
    """
    some = sampled(blocks, total, _ASKED)
    return some + np.roll(some, len(some) // 2, axis=0)


def sampled(blocks: Iterable[NDArray[np.float32]], total: int, size: int) -> NDArray[np.float32]:
    """Takes vectors from all over, the same ones each time.

    Args:
        blocks: (n, dimension) float32 each, of `total` rows together, at least one.
        total: Rows of all blocks.
        size: Rows wanted.

    Returns:
        (size or fewer, dimension) float32, at even distances.
    """
    wanted = np.unique(np.linspace(0, max(total - 1, 0), size).astype(np.int64))
    parts, start = [], 0
    for block in blocks:
        low, high = np.searchsorted(wanted, [start, start + len(block)])
        # Picking copies: the block itself may be let go.
        parts.append(block[wanted[low:high] - start])
        start += len(block)
    return np.concatenate(parts)


def recall_of(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """Compares hits.

    Args:
        found: (n, k) keys that an index found; negative ones are none.
        exact: (n, k) keys that an exact search found.

    Returns:
        Share of the exact hits that were found; 1 where there are none.
    """
    pairs = [(set(a[a >= 0].tolist()), set(b[b >= 0].tolist())) for a, b in zip(found, exact, strict=True)]
    wanted = sum(len(right) for _, right in pairs)
    return sum(len(left & right) for left, right in pairs) / wanted if wanted else 1.0


def least_effort(exact: NDArray[np.int64], search: Callable[[int], NDArray[np.int64]], least: int, most: int) -> int:
    """Finds how many candidates a search must look at.

    Args:
        exact: (n, K) keys that an exact search finds.
        search: Finds (n, K) keys with some effort.
        least: Least effort.
        most: Greatest effort, with which a search is as good as it can be.

    Returns:
        The first of `least` and its doubles with which enough is found, or `most`.
    """
    effort, before = least, -1.0
    while effort < most:
        found = recall_of(search(effort), exact)
        if found >= _WANTED or _FAIR <= found <= before:
            return effort
        effort, before = 2 * effort, found
    return most
