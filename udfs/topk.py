"""Exact top-k of many queries over batches of embeddings, in bounded memory; plain numpy and pandas."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
# Size of one block of products: 1,024 queries times 4,096 embeddings take 16 MiB.
_QUERIES, _ROWS = 1024, 4096
# Query-embedding pairs multiplied in float64 at once: 25 MiB for 384 numbers.
_PAIRS = 4096
# Number of candidates that may wait to be sorted, as a multiple of the hits kept.
_WAITING = 4
HITS = ["query", "score", "chunk_id", "doc_id"]


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of rows from the vectors table.

    Attributes:
        chunk_ids: (n,) Python strings.
        doc_ids: (n,) ids of the chunks' documents.
        matrix: (n, dimension) float32, the embeddings.
    """

    chunk_ids: NDArray[np.object_]
    doc_ids: NDArray[np.object_]
    matrix: Matrix


def top_k(queries: Matrix, batches: Iterable[Rows], k: int, per_document: bool = False) -> pd.DataFrame:
    """Finds the embeddings with the highest dot product for each query.

    Products in float32 select candidates, with a margin for rounding. The candidates' scores are computed again in
    float64 and rounded once, so that scores and their order do not depend on the size or content of a batch.

    Args:
        queries: (q, dimension) float32, the queries' embeddings.
        batches: The embeddings to search.
        k: Hits per query.
        per_document: Whether a document counts as one hit, scored by its best chunk.

    Returns:
        Columns query (index of the query), score (float32), chunk_id and doc_id; at most k rows per query, in the
        order of `best`.

    Example:
        >>> rows = Rows(np.array(["a", "b"], object), np.array(["x", "y"], object), np.eye(2, dtype=np.float32))
        >>> top_k(np.array([[0.0, 1.0]], np.float32), [rows], 1)[["query", "score", "chunk_id"]].values.tolist()
        [[0, 1.0, 'b']]
    """
    starts = range(0, len(queries), _QUERIES)
    tiles = [_Tile(queries[start : start + _QUERIES], start, k, per_document) for start in starts]
    for rows in _blocks(batches):
        for tile in tiles:
            tile.add(rows)
    hits = [tile.hits() for tile in tiles]
    return pd.concat(hits, ignore_index=True) if hits else _no_hits()


def best(hits: pd.DataFrame, k: int, per_document: bool) -> pd.DataFrame:
    """Orders hits and keeps the best of each query.

    Args:
        hits: Columns query, score, chunk_id and doc_id.
        k: Hits per query.
        per_document: Whether a document counts as one hit, scored by its best chunk.

    Returns:
        The hits kept, ordered by query, score (highest first) and chunk id.
    """
    ordered = hits.sort_values(["query", "score", "chunk_id"], ascending=[True, False, True], kind="stable")
    if per_document:
        ordered = ordered.drop_duplicates(["query", "doc_id"])
    return ordered[ordered.groupby("query").cumcount() < k].reset_index(drop=True)


class _Tile:
    """The best hits so far for a block of queries, and the score that a new hit must reach."""

    def __init__(self, queries: Matrix, first: int, k: int, per_document: bool) -> None:
        self._queries, self._first, self._k, self._per_document = queries, first, k, per_document
        self._norms = np.linalg.norm(queries, axis=1)
        self._least = np.full(len(queries), -np.inf, dtype=np.float32)
        self._kept = _no_hits()
        self._waiting: list[pd.DataFrame] = []

    def add(self, rows: Rows) -> None:
        products = self._queries @ rows.matrix.T
        # The rounding error of a dot product is at most dimension times unit roundoff times both lengths (Higham,
        # Accuracy and Stability of Numerical Algorithms, 3.1). Both compared products may be off by that much.
        longest = float(np.linalg.norm(rows.matrix, axis=1).max(initial=0.0))
        margin = 2 * rows.matrix.shape[1] * np.finfo(np.float32).eps * longest * self._norms
        least = np.maximum(self._least, self._kth(products, rows)) - margin
        query_indices, row_indices = np.nonzero(products >= least[:, None])
        for start in range(0, len(query_indices), _PAIRS):
            self._score(query_indices[start : start + _PAIRS], row_indices[start : start + _PAIRS], rows)

    def _kth(self, products: Matrix, rows: Rows) -> Matrix:
        # Once every query has k hits, the lowest of them is the better bound and costs nothing.
        if np.isfinite(self._least).all():
            return self._least
        scores = products
        if self._per_document:
            codes, names = pd.factorize(rows.doc_ids)
            order = np.argsort(codes, kind="stable")
            starts = np.searchsorted(codes[order], np.arange(len(names)))
            scores = np.maximum.reduceat(products[:, order], starts, axis=1)
        if scores.shape[1] < self._k:
            return self._least
        return np.partition(scores, -self._k, axis=1)[:, -self._k]

    def _score(self, query_indices: NDArray[np.intp], row_indices: NDArray[np.intp], rows: Rows) -> None:
        left = self._queries[query_indices].astype(np.float64)
        right = rows.matrix[row_indices].astype(np.float64)
        scores = np.einsum("ij,ij->i", left, right).astype(np.float32)
        values = (query_indices, scores, rows.chunk_ids[row_indices], rows.doc_ids[row_indices])
        self._waiting.append(pd.DataFrame(dict(zip(HITS, values, strict=True))))
        if sum(map(len, self._waiting)) > _WAITING * max(len(self._queries) * self._k, _ROWS):
            self._settle()

    def _settle(self) -> None:
        if not self._waiting:
            return
        self._kept = best(pd.concat([self._kept, *self._waiting], ignore_index=True), self._k, self._per_document)
        self._waiting = []
        sizes = self._kept.groupby("query")["score"].agg(["size", "min"])
        full = sizes[sizes["size"] >= self._k]
        self._least[full.index.to_numpy(dtype=np.intp)] = full["min"].to_numpy(dtype=np.float32)

    def hits(self) -> pd.DataFrame:
        self._settle()
        return self._kept.assign(query=self._kept["query"] + self._first)


def _blocks(batches: Iterable[Rows]) -> Iterator[Rows]:
    for batch in batches:
        for start in range(0, len(batch.matrix), _ROWS):
            block = slice(start, start + _ROWS)
            yield Rows(batch.chunk_ids[block], batch.doc_ids[block], batch.matrix[block])


def _no_hits() -> pd.DataFrame:
    types = {"query": np.int64, "score": np.float32, "chunk_id": object, "doc_id": object}
    return pd.DataFrame({name: pd.Series(dtype=types[name]) for name in HITS})
