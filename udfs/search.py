"""The Spark wrapper for exact top-k search: compares the embeddings of each partition with all queries."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from schemas.precision import OutputPrecision, stored_dimension
from schemas.worker_rows import PARTIAL_HITS
from udfs.quantization import Ranges, restored
from udfs.topk import Matrix, Rows, best, top_k
from udfs.worker import require_version

Batches = Iterator[pa.RecordBatch]
# Name of the column that has the other columns of a row.
ROW = "row"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryBatch:
    """Queries in the form sent to executors, with the options of the search.

    Attributes:
        embeddings: (q, dimension) float32 in C order, as bytes.
        dimension: Length of an embedding.
        k: Hits per query.
        per_document: Whether a document counts as one hit, scored by its best chunk.
        precision: The storage format of embeddings in the table.
        ranges: The space's ranges, if embeddings are stored as int8.
    """

    embeddings: bytes
    dimension: int
    k: int
    per_document: bool
    precision: OutputPrecision
    ranges: Ranges | None

    def matrix(self) -> Matrix:
        """Returns the queries as (q, dimension) float32."""
        return np.frombuffer(self.embeddings, dtype=np.float32).reshape(-1, self.dimension)


def search_arrow(queries: QueryBatch) -> Callable[[Batches], Batches]:
    """Creates the function for `mapInArrow` that searches a partition. Call this on the driver.

    Args:
        queries: The queries and the options of the search.

    Returns:
        A function from batches with columns chunk_id, doc_id and embedding to batches of
        `schemas.worker_rows.PARTIAL_HITS`: the best hits of the partition for each query.
    """
    version = require_version()

    def search(batches: Batches) -> Batches:
        require_version(version)
        rows = (as_rows(batch, queries.dimension, queries.precision, queries.ranges) for batch in batches)
        hits = top_k(queries.matrix(), rows, queries.k, queries.per_document)
        table = pa.Table.from_pandas(hits, schema=to_arrow_schema(PARTIAL_HITS), preserve_index=False)
        yield from table.to_batches(max_chunksize=65_536)

    return search


def search_whole_rows(query: QueryBatch) -> Callable[[Batches], Batches]:
    """Creates the function for `mapInArrow` that searches a partition for one query. Call this on the driver.

    Args:
        query: A single query and the options of the search.

    Returns:
        A function from batches with columns chunk_id, doc_id, embedding and `ROW` to batches of the partition's best
        hits: score, chunk_id, doc_id and `ROW`, best first.
    """
    version = require_version()

    def search(batches: Batches) -> Batches:
        require_version(version)
        kept: pa.Table | None = None
        for batch in batches:
            found = _best_of(batch, query)
            kept = found if kept is None else _best_of_both(kept, found, query)
        if kept is not None:
            yield from kept.to_batches()

    return search


def _best_of(batch: pa.RecordBatch, query: QueryBatch) -> "pa.Table":
    """Finds the best hits among a batch, best first."""
    rows = as_rows(batch, query.dimension, query.precision, query.ranges)
    hits = top_k(query.matrix(), [rows], query.k, query.per_document)
    places = {chunk_id: place for place, chunk_id in enumerate(rows.chunk_ids)}
    others: Any = batch.select(["chunk_id", "doc_id", ROW])
    taken = others.take(pa.array([places[chunk_id] for chunk_id in hits["chunk_id"]], pa.int64()))
    return pa.Table.from_batches([taken]).add_column(0, "score", pa.array(hits["score"], pa.float32()))


def _best_of_both(one: "pa.Table", other: "pa.Table", query: QueryBatch) -> "pa.Table":
    both = pa.concat_tables([one, other])
    hits = both.select(["score", "chunk_id", "doc_id"]).to_pandas().assign(query=0, place=range(both.num_rows))
    return both.take(pa.array(best(hits, query.k, query.per_document)["place"], pa.int64()))


def as_rows(batch: pa.RecordBatch, dimension: int, precision: OutputPrecision, ranges: Ranges | None) -> Rows:
    """Reads the columns chunk_id, doc_id and embedding of a batch. float32 embeddings are not copied."""
    embeddings: Any = batch.column("embedding")
    stored = embeddings.flatten().to_numpy(zero_copy_only=False)
    matrix = restored(stored.reshape(-1, stored_dimension(dimension, precision)), precision, ranges)
    chunk_ids, doc_ids = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("chunk_id", "doc_id"))
    return Rows(chunk_ids, doc_ids, matrix.astype(np.float32, copy=False))
