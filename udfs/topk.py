"""Exact top-k of many queries over batches of embeddings, in bounded memory; plain numpy and pandas."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
# One block of products: 1,024 queries by 4,096 embeddings are 16 MiB.
_QUERIES, _ROWS = 1024, 4096
# Pairs of a query and an embedding that are multiplied in float64 at once: 25 MiB at 384 numbers.
_PAIRS = 4096
# Candidates that wait to be sorted, as a multiple of those that are kept.
_WAITING = 4
HITS = ["query", "score", "chunk_id", "doc_id"]


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of the vectors table.

    Attributes:
        chunk_ids: (n,) their chunk ids, as Python strings.
        doc_ids: (n,) their documents' ids.
        matrix: (n, dimension) float32; their embeddings.
    """

    chunk_ids: NDArray[np.object_]
    doc_ids: NDArray[np.object_]
    matrix: Matrix


def top_k(asked: Matrix, batches: Iterable[Rows], k: int, per_document: bool = False) -> pd.DataFrame:
    """Finds the embeddings with the highest dot product for each query.

    Products in float32 choose candidates with a margin for their rounding; what is returned is multiplied again in
    float64 and rounded once, so that neither the size of a batch nor the neighbours in it change a score or an order.

    Args:
        asked: (q, dimension) float32; the queries' embeddings.
        batches: The embeddings to search.
        k: Hits wanted of each query.
        per_document: Whether a document is one hit, by its best chunk.

    Returns:
        Columns query (number of the query), score (float32), chunk_id and doc_id; at most k rows of each query, in the
        order of `best`.

    Example:
        >>> rows = Rows(np.array(["a", "b"], object), np.array(["x", "y"], object), np.eye(2, dtype=np.float32))
        >>> top_k(np.array([[0.0, 1.0]], np.float32), [rows], 1)[["query", "score", "chunk_id"]].values.tolist()
        [[0, 1.0, 'b']]
    """
    tiles = [_Tile(asked[start : start + _QUERIES], start, k, per_document) for start in range(0, len(asked), _QUERIES)]
    for rows in _cut(batches):
        for tile in tiles:
            tile.see(rows)
    found = [tile.hits() for tile in tiles]
    return pd.concat(found, ignore_index=True) if found else _none()


def best(hits: pd.DataFrame, k: int, per_document: bool) -> pd.DataFrame:
    """Orders hits and keeps the best of each query.

    Args:
        hits: Columns query, score, chunk_id and doc_id.
        k: Hits wanted of each query.
        per_document: Whether a document is one hit, by its best chunk.

    Returns:
        The hits kept, by query, then highest score, then chunk id.
    """
    ordered = hits.sort_values(["query", "score", "chunk_id"], ascending=[True, False, True], kind="stable")
    if per_document:
        ordered = ordered.drop_duplicates(["query", "doc_id"])
    return ordered[ordered.groupby("query").cumcount() < k].reset_index(drop=True)


class _Tile:
    """The best hits so far of a few queries, and the score that a new one must reach."""

    def __init__(self, asked: Matrix, first: int, k: int, per_document: bool) -> None:
        self._asked, self._first, self._k, self._per_document = asked, first, k, per_document
        self._norms = np.linalg.norm(asked, axis=1)
        self._least = np.full(len(asked), -np.inf, dtype=np.float32)
        self._kept = _none()
        self._waiting: list[pd.DataFrame] = []

    def see(self, rows: Rows) -> None:
        products = self._asked @ rows.matrix.T
        # Either product may be off by as much: https://en.wikipedia.org/wiki/Dot_product has no bound, Higham, Accuracy
        # and Stability of Numerical Algorithms, 3.1, has: dimension times the unit roundoff times both lengths.
        longest = float(np.linalg.norm(rows.matrix, axis=1).max(initial=0.0))
        margin = 2 * rows.matrix.shape[1] * np.finfo(np.float32).eps * longest * self._norms
        least = np.maximum(self._least, self._kth(products, rows)) - margin
        queries, places = np.nonzero(products >= least[:, None])
        for start in range(0, len(queries), _PAIRS):
            self._add(queries[start : start + _PAIRS], places[start : start + _PAIRS], rows)

    def _kth(self, products: Matrix, rows: Rows) -> Matrix:
        # Where k hits are known already, their least is the better bound, and costs nothing.
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

    def _add(self, queries: NDArray[np.intp], places: NDArray[np.intp], rows: Rows) -> None:
        left, right = self._asked[queries].astype(np.float64), rows.matrix[places].astype(np.float64)
        scores = np.einsum("ij,ij->i", left, right).astype(np.float32)
        values = (queries, scores, rows.chunk_ids[places], rows.doc_ids[places])
        self._waiting.append(pd.DataFrame(dict(zip(HITS, values, strict=True))))
        if sum(map(len, self._waiting)) > _WAITING * max(len(self._asked) * self._k, _ROWS):
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


def _cut(batches: Iterable[Rows]) -> Iterator[Rows]:
    for batch in batches:
        for start in range(0, len(batch.matrix), _ROWS):
            part = slice(start, start + _ROWS)
            yield Rows(batch.chunk_ids[part], batch.doc_ids[part], batch.matrix[part])


def _none() -> pd.DataFrame:
    types = {"query": np.int64, "score": np.float32, "chunk_id": object, "doc_id": object}
    return pd.DataFrame({name: pd.Series(dtype=types[name]) for name in HITS})
