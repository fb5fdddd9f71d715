"""What a folder with an index needs of the library that makes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


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
