"""The index file of FAISS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.targets.index_kinds import K, asked_of, least_effort

# Up to here every vector is looked at, which takes milliseconds; above, the nearest of a few thousand lists.
FLAT_ROWS = 50_000
_LISTS = 4
_TRAINING_ROWS = 64
_BLOCK_ROWS = 8192


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise InputError("the target faiss needs the package faiss-cpu: pip install 'embedlake[faiss]'") from error
    return faiss


class FaissKind:
    """How an index of FAISS is made and read."""

    name = "faiss"

    def check(self) -> None:
        """Makes sure that FAISS is there.

        Raises:
            InputError: It is not.
        """
        _faiss()

    def sample_rows(self, total: int) -> int:
        """Says how many vectors `make` wants to see.

        Args:
            total: Rows the index will hold.

        Returns:
            Rows to train lists with; 0 where there will be none.
        """
        return _lists(total) * _TRAINING_ROWS if total > FLAT_ROWS else 0

    def make(self, dimension: int, total: int, sample: NDArray[np.float32]) -> "FaissIndex":
        """Makes an empty index.

        Args:
            dimension: Numbers of a vector.
            total: Rows it will hold.
            sample: (sample_rows(total), dimension) float32 of them.

        Returns:
            Exact search up to 50,000 rows, above that lists around trained centres.
        """
        faiss = _faiss()
        if total <= FLAT_ROWS:
            return FaissIndex(faiss, faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)), 0)
        lists = faiss.IndexFlatIP(dimension)
        index = faiss.IndexIVFFlat(lists, dimension, _lists(total), faiss.METRIC_INNER_PRODUCT)
        index.cp.max_points_per_centroid = _TRAINING_ROWS
        index.train(np.ascontiguousarray(sample))
        return FaissIndex(faiss, index, total)

    def load(self, path: Path, said: dict[str, Any]) -> "FaissIndex":
        """Reads an index.

        Args:
            path: Its file.
            said: What its `tune` returned.

        Returns:
            The index.

        Raises:
            RuntimeError: The file is damaged.
        """
        faiss = _faiss()
        return FaissIndex(faiss, faiss.read_index(str(path)), said["trained_rows"])


def _lists(total: int) -> int:
    return int(_LISTS * np.sqrt(total))


class FaissIndex:
    """An index of FAISS in memory; see `index_kinds.VectorIndex`.

    Args:
        faiss: The package.
        index: `IndexIDMap2` over `IndexFlatIP`, or `IndexIVFFlat` with inner products.
        trained_rows: Rows its lists were trained for; 0 where it has none.
    """

    def __init__(self, faiss: Any, index: Any, trained_rows: int) -> None:
        self._faiss = faiss
        self._index = index
        self._trained_rows = trained_rows

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def is_outgrown(self, total: int) -> bool:
        """Tells whether an index made anew would be better; see `VectorIndex`."""
        if not self._trained_rows:
            return total > FLAT_ROWS
        return total > 2 * self._trained_rows or total < FLAT_ROWS // 2

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Reads all keys and vectors; see `VectorIndex`."""
        faiss, index = self._faiss, self._index
        if not self._trained_rows:
            keys, flat = faiss.vector_to_array(index.id_map), faiss.downcast_index(index.index)
            for start in range(0, len(keys), _BLOCK_ROWS):
                part = keys[start : start + _BLOCK_ROWS]
                yield part, flat.reconstruct_n(start, len(part))
            return
        lists = index.invlists
        for number in range(index.nlist):
            size = lists.list_size(number)
            if size:
                codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
                vectors = codes.view(np.float32).reshape(size, index.d).copy()
                yield faiss.rev_swig_ptr(lists.get_ids(number), size).copy(), vectors

    def remove(self, keys: NDArray[np.int64]) -> None:
        """Takes vectors out; see `VectorIndex`."""
        if len(keys):
            self._index.remove_ids(keys)

    def add(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Puts vectors in; see `VectorIndex`."""
        self._index.add_with_ids(vectors, keys)

    def tune(self) -> dict[str, Any]:
        """Sets how many lists a search looks at, which the file keeps; see `VectorIndex`."""
        if self._trained_rows:
            asked = asked_of((vectors for _, vectors in self.blocks()), len(self))
            lists = int(self._index.nlist)
            self._index.nprobe = lists
            exact = self.search(asked, K)
            self._index.nprobe = least_effort(exact, lambda effort: self._with(effort, asked), 1, lists)
        return {"trained_rows": self._trained_rows}

    def _with(self, effort: int, asked: NDArray[np.float32]) -> NDArray[np.int64]:
        self._index.nprobe = effort
        return self.search(asked, K)

    def save(self, path: Path) -> None:
        """Writes the file; see `VectorIndex`."""
        self._faiss.write_index(self._index, str(path))

    def search(self, asked: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Finds the nearest; see `VectorIndex`."""
        keys: NDArray[np.int64] = self._index.search(np.ascontiguousarray(asked), k)[1]
        return keys
