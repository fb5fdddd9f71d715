"""The index file of usearch: a graph of near neighbours (HNSW)."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.targets.index_kinds import K, asked_of, least_effort

# Neighbours of a node, candidates looked at when one is put in, and least candidates of a search: twice the package's
# own, for recall.
_CONNECTIVITY = 32
_EXPANSION_ADD = 256
_EXPANSION_SEARCH = 128
_BLOCK_ROWS = 8192


def _index_class() -> Any:
    try:
        from usearch.index import Index
    except ImportError as error:
        raise InputError("the target usearch needs the package usearch: pip install 'embedlake[usearch]'") from error
    return Index


class UsearchKind:
    """How an index of usearch is made and read."""

    name = "usearch"

    def check(self) -> None:
        """Makes sure that usearch is there.

        Raises:
            InputError: It is not.
        """
        _index_class()

    def sample_rows(self, total: int) -> int:
        """Says how many vectors `make` wants to see: none, for a graph needs no training.

        Args:
            total: Rows the index will hold.

        Returns:
            0.
        """
        return 0

    def make(self, dimension: int, total: int, sample: NDArray[np.float32]) -> "UsearchIndex":
        """Makes an empty index.

        Args:
            dimension: Numbers of a vector.
            total: Rows it will hold.
            sample: Not looked at.

        Returns:
            A graph of float32 vectors under the inner product, one vector for each key.
        """
        index = _index_class()(
            ndim=dimension,
            metric="ip",
            dtype="f32",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
            multi=False,
        )
        return UsearchIndex(index, 0)

    def load(self, path: Path, said: dict[str, Any]) -> "UsearchIndex":
        """Reads an index.

        Args:
            path: Its file.
            said: What its `tune` returned.

        Returns:
            The index.

        Raises:
            RuntimeError: The file is damaged.
        """
        index = _index_class().restore(path)
        if index is None:
            raise RuntimeError("no index of usearch")
        # The file keeps neither.
        index.expansion_add = _EXPANSION_ADD
        index.expansion_search = said["expansion_search"]
        return UsearchIndex(index, said["removed"])


class UsearchIndex:
    """An index of usearch in memory; see `index_kinds.VectorIndex`.

    Args:
        index: The index.
        removed: Vectors taken out since it was made.
    """

    def __init__(self, index: Any, removed: int) -> None:
        self._index = index
        self._removed = removed

    def __len__(self) -> int:
        return len(self._index)

    def is_outgrown(self, total: int) -> bool:
        """Tells whether an index made anew would be better; see `VectorIndex`."""
        # A node that is taken out leaves links to nowhere, and its place to a node that belongs elsewhere.
        return self._removed > total // 2

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Reads all keys and vectors; see `VectorIndex`."""
        keys = np.sort(np.asarray(self._index.keys).astype(np.int64))
        for start in range(0, len(keys), _BLOCK_ROWS):
            part = keys[start : start + _BLOCK_ROWS]
            yield part, np.asarray(self._index.get(part.astype(np.uint64)), dtype=np.float32)

    def remove(self, keys: NDArray[np.int64]) -> None:
        """Takes vectors out; see `VectorIndex`."""
        if len(keys):
            self._index.remove(keys.astype(np.uint64))
            self._removed += len(keys)

    def add(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Puts vectors in; see `VectorIndex`."""
        self._index.add(keys.astype(np.uint64), vectors)

    def tune(self) -> dict[str, Any]:
        """Sets how many candidates a search looks at; see `VectorIndex`."""
        if len(self):
            asked = asked_of((vectors for _, vectors in self.blocks()), len(self))
            exact = self._found(asked, K, exact=True)
            self._index.expansion_search = least_effort(
                exact, lambda effort: self._with(effort, asked), _EXPANSION_SEARCH, len(self)
            )
        return {"expansion_search": int(self._index.expansion_search), "removed": self._removed}

    def _with(self, effort: int, asked: NDArray[np.float32]) -> NDArray[np.int64]:
        self._index.expansion_search = effort
        return self.search(asked, K)

    def save(self, path: Path) -> None:
        """Writes the file; see `VectorIndex`."""
        self._index.save(path)
        if path.stat().st_size < self._index.serialized_length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def search(self, asked: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Finds the nearest; see `VectorIndex`."""
        return self._found(asked, k, exact=False)

    def _found(self, asked: NDArray[np.float32], k: int, exact: bool) -> NDArray[np.int64]:
        keys = np.full((len(asked), k), -1, dtype=np.int64)
        if len(asked) and len(self):
            hits = self._index.search(asked, min(k, len(self)), exact=exact)
            # One vector asked for gives one list of hits, several give a matrix with the number of hits in each row.
            rows = [hits.keys] if len(asked) == 1 else [row[:n] for row, n in zip(hits.keys, hits.counts, strict=True)]
            for at, row in enumerate(rows):
                keys[at, : len(row)] = row.astype(np.int64)
        return keys
