"""usearch indexes: a graph of near neighbors (HNSW)."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_jobs.targets.index_kinds import K, least_effort
from spark_jobs.targets.target import optional_package

# Neighbors of a node, candidates examined when a node is added, and minimum number of candidates of a search: twice
# the package's defaults, for recall.
_CONNECTIVITY = 32
_EXPANSION_ADD = 256
_EXPANSION_SEARCH = 128
_BLOCK_ROWS = 8192


class UsearchKind:
    """How usearch indexes are created and loaded; see `IndexKind`."""

    name = "usearch"

    def __init__(self) -> None:
        with optional_package(self.name, "usearch"):
            from usearch.index import Index

        self._index_class: Any = Index

    def sample_size(self, total: int) -> int:
        """Returns 0: a graph needs no training."""
        return 0

    def create(self, dimension: int, total: int, sample: NDArray[np.float32]) -> "UsearchIndex":
        """Creates an empty graph of float32 vectors under the inner product, with one vector per key."""
        index = self._index_class(
            ndim=dimension,
            metric="ip",
            dtype="f32",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
            multi=False,
        )
        return UsearchIndex(index, 0)

    def load(self, path: Path, settings: dict[str, Any]) -> "UsearchIndex":
        """Loads an index; see `IndexKind`."""
        index = self._index_class.restore(path)
        if index is None:
            raise RuntimeError("not a usearch index")
        # The file stores neither.
        index.expansion_add = _EXPANSION_ADD
        index.expansion_search = settings["expansion_search"]
        return UsearchIndex(index, settings["removed"])


class UsearchIndex:
    """A usearch index in memory; see `VectorIndex`.

    Args:
        index: The index.
        removed: Vectors removed since it was created.
    """

    def __init__(self, index: Any, removed: int) -> None:
        self._index = index
        self._removed = removed

    def __len__(self) -> int:
        return len(self._index)

    def is_outgrown(self, total: int) -> bool:
        """Whether a new index would be better; see `VectorIndex`."""
        # A removed node leaves dangling links, and its slot goes to a node that belongs elsewhere.
        return self._removed > total // 2

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Reads all keys and vectors; see `VectorIndex`."""
        keys = np.sort(np.asarray(self._index.keys).astype(np.int64))
        for start in range(0, len(keys), _BLOCK_ROWS):
            block = keys[start : start + _BLOCK_ROWS]
            yield block, np.asarray(self._index.get(block.astype(np.uint64)), dtype=np.float32)

    def remove(self, keys: NDArray[np.int64]) -> None:
        """Removes vectors; see `VectorIndex`."""
        if len(keys):
            self._index.remove(keys.astype(np.uint64))
            self._removed += len(keys)

    def add(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Adds vectors; see `VectorIndex`."""
        self._index.add(keys.astype(np.uint64), vectors)

    def tune(self) -> dict[str, Any]:
        """Sets how many candidates a search examines; see `VectorIndex`."""
        if len(self):
            self._index.expansion_search = least_effort(
                self,
                lambda queries: self._find(queries, K, exact=True),
                self._search_with,
                _EXPANSION_SEARCH,
                len(self),
            )
        return {"expansion_search": int(self._index.expansion_search), "removed": self._removed}

    def save(self, path: Path) -> None:
        """Writes the file; see `VectorIndex`."""
        self._index.save(path)
        if path.stat().st_size < self._index.serialized_length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Finds the nearest vectors; see `VectorIndex`."""
        return self._find(queries, k, exact=False)

    def _search_with(self, candidates: int, queries: NDArray[np.float32]) -> NDArray[np.int64]:
        self._index.expansion_search = candidates
        return self.search(queries, K)

    def _find(self, queries: NDArray[np.float32], k: int, exact: bool) -> NDArray[np.int64]:
        keys = np.full((len(queries), k), -1, dtype=np.int64)
        if len(queries) and len(self):
            hits = self._index.search(queries, min(k, len(self)), exact=exact)
            # A single query gives one list of hits, several give a matrix with the number of hits in each row.
            rows = (
                [hits.keys] if len(queries) == 1 else [row[:n] for row, n in zip(hits.keys, hits.counts, strict=True)]
            )
            for number, row in enumerate(rows):
                keys[number, : len(row)] = row.astype(np.int64)
        return keys
