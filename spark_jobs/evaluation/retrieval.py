"""What a space finds for judged queries."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pyspark.sql import SparkSession
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.search.nearest import nearest
from spark_jobs.search.nearest import queries_per_scan
from spark_jobs.search.queries import Query
from spark_jobs.search.queries import embed_queries
from spark_jobs.store.open_space import OpenSpace

@dataclass(frozen=True)
class RetrievedDocuments:
    """What was found in one space.

    Attributes:
        documents: Document ids of each query, best first; a document is as near as its best chunk.
        truncated: Queries of which the model saw only the beginning.
        missing: Judged documents that the space does not hold, so that no query can find them.
    """

    documents: Mapping[str, Sequence[str]]
    truncated: int
    missing: int


def find_documents(spark: SparkSession, searchable: OpenSpace, judged: JudgedQueries, depth: int) -> RetrievedDocuments:
    """Searches for all judged queries.

    Args:
        spark: The live session, with the properties that reading the store needs.
        searchable: The space.
        judged: The queries.
        depth: Documents of each query.

    Returns:
        What was found; a query without hits has an empty list.

    Raises:
        InputError: The model cannot embed a query.
    """
    documents: dict[str, list[str]] = {query: [] for query in judged.queries}
    truncated = 0
    for queries in _passes(list(judged.queries.items()), depth):
        embedded = embed_queries(spark, searchable, queries)
        truncated += len(embedded.truncated)
        wanted = SearchOptions(k=depth, per_document=True)
        hits = nearest(spark, searchable, searchable.vectors, embedded, wanted).select("query_id", "rank", "doc_id")
        # As many rows as queries times depth, whatever the size of the library.
        columns = hits.toArrow().sort_by("rank").to_pydict()
        for query, document in zip(columns["query_id"], columns["doc_id"], strict=True):
            documents[query].append(document)
    return RetrievedDocuments(documents, truncated, _missing(spark, searchable, judged))


def _passes(queries: list[Query], depth: int) -> Iterator[list[Query]]:
    size = queries_per_scan(depth)
    for start in range(0, len(queries), size):
        yield queries[start : start + size]


def _missing(spark: SparkSession, searchable: OpenSpace, judged: JudgedQueries) -> int:
    ids = spark.createDataFrame([(document,) for document in judged.documents], "doc_id string")
    return ids.join(searchable.vectors.select("doc_id"), "doc_id", "left_anti").count()
