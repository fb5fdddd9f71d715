"""FAISS indexes: exact search for few rows, lists around trained centers (IVF) for many."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_jobs.targets.index_kinds import K, least_effort
from spark_jobs.targets.target import optional_package

# Up to here, a search compares every vector, which takes milliseconds; above, only those in the nearest lists.
FLAT_ROWS = 50_000
_LISTS = 4
_TRAINING_ROWS = 64
_BLOCK_ROWS = 8192


class FaissKind:
    """How FAISS indexes are created and loaded; see `IndexKind`."""

    name = "faiss"

    def __init__(self) -> None:
        with optional_package(self.name, "faiss-cpu"):
            import faiss

        self._faiss = faiss

    def sample_size(self, total: int) -> int:
        """Number of rows to train lists with; 0 if the index has none."""
        return _list_count(total) * _TRAINING_ROWS if total > FLAT_ROWS else 0

    def create(self, dimension: int, total: int, sample: NDArray[np.float32]) -> "FaissIndex":
        """Creates an empty index: exact up to 50,000 rows, lists around trained centers above that."""
        faiss = self._faiss
        if total <= FLAT_ROWS:
            return FaissIndex(faiss, faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)), 0)
        lists = faiss.IndexFlatIP(dimension)
        index = faiss.IndexIVFFlat(lists, dimension, _list_count(total), faiss.METRIC_INNER_PRODUCT)
        index.cp.max_points_per_centroid = _TRAINING_ROWS
        index.train(np.ascontiguousarray(sample))
        return FaissIndex(faiss, index, total)

    def load(self, path: Path, settings: dict[str, Any]) -> "FaissIndex":
        """Loads an index; see `IndexKind`."""
        return FaissIndex(self._faiss, self._faiss.read_index(str(path)), settings["trained_rows"])


class FaissIndex:
    """A FAISS index in memory; see `VectorIndex`.

    Args:
        faiss: The package.
        index: `IndexIDMap2` over `IndexFlatIP`, or `IndexIVFFlat` with inner products.
        trained_rows: Rows that its lists were trained for; 0 if it has none.
    """

    def __init__(self, faiss: Any, index: Any, trained_rows: int) -> None:
        self._faiss = faiss
        self._index = index
        self._trained_rows = trained_rows

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def is_outgrown(self, total: int) -> bool:
        """Whether a new index would be better; see `VectorIndex`."""
        if not self._trained_rows:
            return total > FLAT_ROWS
        return total > 2 * self._trained_rows or total < FLAT_ROWS // 2

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Reads all keys and vectors; see `VectorIndex`."""
        faiss, index = self._faiss, self._index
        if not self._trained_rows:
            keys, flat = faiss.vector_to_array(index.id_map), faiss.downcast_index(index.index)
            for start in range(0, len(keys), _BLOCK_ROWS):
                block = keys[start : start + _BLOCK_ROWS]
                yield block, flat.reconstruct_n(start, len(block))
            return
        lists = index.invlists
        for number in range(index.nlist):
            size = lists.list_size(number)
            if size:
                codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
                vectors = codes.view(np.float32).reshape(size, index.d).copy()
                yield faiss.rev_swig_ptr(lists.get_ids(number), size).copy(), vectors

    def remove(self, keys: NDArray[np.int64]) -> None:
        """Removes vectors; see `VectorIndex`."""
        if len(keys):
            self._index.remove_ids(keys)

    def add(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Adds vectors; see `VectorIndex`."""
        self._index.add_with_ids(vectors, keys)

    def tune(self) -> dict[str, Any]:
        """Sets how many lists a search visits, which the file stores; see `VectorIndex`."""
        if self._trained_rows:
            lists = int(self._index.nlist)
            self._index.nprobe = least_effort(
                self, lambda queries: self._search_with(lists, queries), self._search_with, 1, lists
            )
        return {"trained_rows": self._trained_rows}

    def save(self, path: Path) -> None:
        """Writes the file; see `VectorIndex`."""
        self._faiss.write_index(self._index, str(path))

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Finds the nearest vectors; see `VectorIndex`."""
        keys: NDArray[np.int64] = self._index.search(np.ascontiguousarray(queries), k)[1]
        return keys

    def _search_with(self, lists: int, queries: NDArray[np.float32]) -> NDArray[np.int64]:
        self._index.nprobe = lists
        return self.search(queries, K)


def _list_count(total: int) -> int:
    return int(_LISTS * np.sqrt(total))
