"""Exact search: rows of a space ranked by the product of their embedding with embedded queries."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from schemas.errors import InputError
from schemas.precision import OutputPrecision
from schemas.table import clashing, quoted
from schemas.worker_rows import PARTIAL_HITS, RANKED
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.search.queries import EmbeddedQueries
from spark_jobs.store.open_space import OpenSpace, StoredSpace
from udfs.quantization import Ranges
from udfs.search import ROW, QueryBatch, search_arrow, search_whole_rows
from udfs.topk import Matrix

# Maximum number of hits that one scan of the vectors keeps, over all queries: about 1 GB of a worker's memory.
_HITS_PER_SCAN = 2_000_000
_QUERIES_PER_SCAN = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Which hits a search returns.

    Attributes:
        k: Maximum number of hits per query.
        where: A boolean SQL expression over the columns of `vectors`; None for all rows.
        per_document: Whether each document is one hit, its best chunk.
        rescore: Whether queries stay in float32 in a space of int8 or binary.
    """

    k: int = 10
    where: str | None = None
    per_document: bool = False
    rescore: bool = False


class Searched(Protocol):
    """How the embeddings of a space are stored."""

    @property
    def dimension(self) -> int:
        """Numbers in an embedding."""
        ...

    @property
    def precision(self) -> OutputPrecision:
        """How they are stored."""
        ...

    @property
    def ranges(self) -> Ranges | None:
        """Lowest and highest value of each number, if they are stored as int8."""
        ...


def queries_per_scan(k: int) -> int:
    """Returns how many queries with `k` hits each one scan of the vectors may answer within a worker's memory."""
    return max(1, min(_QUERIES_PER_SCAN, _HITS_PER_SCAN // k))


def matching(rows: DataFrame, where: str | None) -> DataFrame:
    """Keeps the rows of a space that match a filter; Spark pushes what it can into the scan.

    Args:
        rows: Rows of `vectors`.
        where: One boolean SQL expression over the columns; None for all rows.

    Returns:
        Rows of `vectors`.

    Raises:
        InputError: The filter is anything else, or names a column that does not exist.
    """
    if where is None:
        return rows
    try:
        matched = rows.where(F.expr(where))
        matched.schema  # noqa: B018  # Connect analyzes an expression only when a result is needed
    except Exception as error:  # raised by the parser, the analyzer or Connect
        raise InputError(
            "--where takes one boolean SQL expression over the columns of vectors, such as \"package = 'numpy'\": "
            f"{cause_of(error)}"
        ) from error
    return matched


def nearest_to_one(space: StoredSpace, rows: DataFrame, queries: EmbeddedQueries, options: SearchOptions) -> DataFrame:
    """Finds the rows with the highest products with one query, in one scan that carries their other columns along.

    Args:
        space: The space.
        rows: The rows of the space that count.
        queries: The embedded query.
        options: How many hits, and whether they are documents; the filter has been applied to the rows.

    Returns:
        The columns of `nearest` after the first two, in the order of ranks; at most k rows.
    """
    # The row is one column, because `mapInArrow` finds no column whose name has a dot.
    scanned = rows.select("chunk_id", "doc_id", "embedding", F.struct(*_carried(rows)).alias(ROW))
    schema = StructType([*(field for field in PARTIAL_HITS if field.name != "query"), scanned.schema[ROW]])
    hits = scanned.mapInArrow(search_whole_rows(_batch(space, queries, options)), schema)
    order = (F.desc("score"), F.asc("chunk_id"))
    if options.per_document:
        of_document = Window.partitionBy("doc_id").orderBy(*order)
        hits = hits.withColumn("chunk_rank", F.row_number().over(of_document))
        hits = hits.where(F.col("chunk_rank") == 1).drop("chunk_rank")
    return hits.orderBy(*order).limit(options.k).select("score", f"{ROW}.*")


def nearest(space: OpenSpace, rows: DataFrame, queries: EmbeddedQueries, options: SearchOptions) -> DataFrame:
    """Finds the rows with the highest products with each query, in one scan of their embeddings.

    Args:
        space: The space.
        rows: The rows of the space that count.
        queries: The embedded queries, at most `queries_per_scan`.
        options: How many hits, and whether they are documents; the filter has been applied to the rows.

    Returns:
        Columns query_id, rank, score and those of `vectors` without the embedding; at most k rows for each query,
        equal scores in order of chunk id. A payload column with one of the first three names becomes
        `payload_<name>`.
    """
    ids = space.tables.spark.createDataFrame(list(enumerate(queries.ids)), "query long, query_id string")
    names = [field.name for field in RANKED]
    hits = ranked(rows, _batch(space, queries, options)).join(ids, "query").select("chunk_id", *names)
    carried = rows.select(_carried(rows))
    return hits.join(carried, "chunk_id").select(*names, *map(quoted, carried.columns))


def ranked(rows: DataFrame, batch: QueryBatch) -> DataFrame:
    """Ranks rows by their products with each query, reading each embedding once.

    Args:
        rows: Columns chunk_id, doc_id and embedding, among others.
        batch: The queries, and how many hits each has.

    Returns:
        Columns of `PARTIAL_HITS` and `rank`, from 1 to k for each query; equal scores in order of chunk id.
    """
    hits = rows.select("chunk_id", "doc_id", "embedding").mapInArrow(search_arrow(batch), PARTIAL_HITS)
    order = (F.desc("score"), F.asc("chunk_id"))
    if batch.per_document:
        of_document = Window.partitionBy("query", "doc_id").orderBy(*order)
        numbered = hits.withColumn("chunk_rank", F.row_number().over(of_document))
        hits = numbered.where(F.col("chunk_rank") == 1).drop("chunk_rank")
    by_rank = hits.withColumn("rank", F.row_number().over(Window.partitionBy("query").orderBy(*order)))
    return by_rank.where(F.col("rank") <= batch.k)


def query_batch(space: Searched, matrix: Matrix, k: int, per_document: bool) -> QueryBatch:
    """Describes queries to the executors that search a space.

    Args:
        space: How its embeddings are stored.
        matrix: (queries, dimension) float32.
        k: Maximum number of hits per query.
        per_document: Whether each document is one hit, its best chunk.

    Returns:
        The description.
    """
    return QueryBatch(
        embeddings=np.asarray(matrix, dtype=np.float32).tobytes(),
        dimension=space.dimension,
        k=k,
        per_document=per_document,
        precision=space.precision,
        ranges=space.ranges,
    )


def _batch(space: StoredSpace, queries: EmbeddedQueries, options: SearchOptions) -> QueryBatch:
    return query_batch(space, queries.matrix, options.k, options.per_document)


def _carried(rows: DataFrame) -> list[Column]:
    """Every column but the embedding, under another name where a column of the result has its own."""
    names = [name for name in rows.columns if name != "embedding"]
    taken = set(clashing(names, RANKED))
    return [F.col(quoted(n)).alias(f"payload_{n}" if n in taken else n) for n in names]
