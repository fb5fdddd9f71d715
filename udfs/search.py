"""The Spark skin over exact top-k: embeddings of one partition against all queries."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from schemas.precision import OutputPrecision, stored_dimension
from schemas.worker_rows import PARTIAL_HITS
from udfs.quantization import Ranges, restored
from udfs.topk import Matrix, Rows, top_k
from udfs.worker import require_version

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryBatch:
    """Queries as they travel to the executors, and what is wanted of each.

    Attributes:
        embeddings: (q, dimension) float32 in C order, as bytes.
        dimension: Numbers of an embedding.
        k: Hits wanted of each query.
        per_document: Whether a document is one hit, by its best chunk.
        precision: How numbers are stored in the table.
        ranges: The space's ranges, where they are stored as int8.
    """

    embeddings: bytes
    dimension: int
    k: int
    per_document: bool
    precision: OutputPrecision
    ranges: Ranges | None

    def matrix(self) -> Matrix:
        """Unpacks the queries.

        Returns:
            (q, dimension) float32.
        """
        return np.frombuffer(self.embeddings, dtype=np.float32).reshape(-1, self.dimension)


def search_arrow(asked: QueryBatch) -> Callable[[Batches], Batches]:
    """Makes the function that a search gives to `mapInArrow`; called on the driver, it runs on executors.

    Args:
        asked: The queries.

    Returns:
        A function from batches with columns chunk_id, doc_id and embedding to batches of `schemas.hits.PARTIAL_HITS`:
        the best of this partition for each query.
    """
    version = require_version()

    def search(batches: Batches) -> Batches:
        require_version(version)
        rows = (as_rows(batch, asked.dimension, asked.precision, asked.ranges) for batch in batches)
        hits = top_k(asked.matrix(), rows, asked.k, asked.per_document)
        table = pa.Table.from_pandas(hits, schema=to_arrow_schema(PARTIAL_HITS), preserve_index=False)
        yield from table.to_batches(max_chunksize=65_536)

    return search


def as_rows(batch: pa.RecordBatch, dimension: int, precision: OutputPrecision, ranges: Ranges | None) -> Rows:
    """Reads a batch of the vectors table; float32 embeddings are not copied.

    Args:
        batch: Columns chunk_id, doc_id and embedding.
        dimension: Numbers of an embedding.
        precision: How numbers are stored.
        ranges: The space's ranges, where they are stored as int8.

    Returns:
        Ids and embeddings as float32: the middle of each step for int8, -1 or 1 for binary.
    """
    embeddings: Any = batch.column("embedding")
    stored = embeddings.flatten().to_numpy(zero_copy_only=False)
    matrix = restored(stored.reshape(-1, stored_dimension(dimension, precision)), precision, ranges)
    chunk_ids, doc_ids = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("chunk_id", "doc_id"))
    return Rows(chunk_ids, doc_ids, matrix.astype(np.float32, copy=False))
