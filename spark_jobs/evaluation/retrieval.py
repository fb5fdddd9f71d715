"""The documents that a space retrieves for judged queries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.search.nearest import SearchOptions, nearest, queries_per_scan
from spark_jobs.search.queries import embed_queries
from spark_jobs.search.query_rows import Query
from spark_jobs.store.open_space import OpenSpace
from udfs.specs import InferenceSpec


@dataclass(frozen=True)
class RetrievedDocuments:
    """What one space retrieved.

    Attributes:
        documents: Document ids of each query, best first; a document is as near as its best chunk.
        truncated: Number of queries that are longer than the model's limit; only their beginning counted.
        missing: Number of judged documents without vectors in the space, which no query can retrieve.
    """

    documents: Mapping[str, Sequence[str]]
    truncated: int
    missing: int


def retrieve_documents(space: OpenSpace, model: InferenceSpec, judged: JudgedQueries, depth: int) -> RetrievedDocuments:
    """Searches a space for all judged queries.

    Args:
        space: The space.
        model: Its model, as `search_model` describes it.
        judged: The queries.
        depth: Maximum number of documents per query.

    Returns:
        The documents; a query without hits has an empty list.

    Raises:
        InputError: The model cannot embed a query.
    """
    documents: dict[str, list[str]] = {query: [] for query in judged.queries}
    truncated = 0
    for queries in _scans(list(judged.queries.items()), depth):
        embedded = embed_queries(space, model, queries)
        truncated += len(embedded.truncated)
        options = SearchOptions(k=depth, per_document=True)
        hits = nearest(space, space.vectors.rows, embedded, options).select("query_id", "rank", "doc_id")
        # Queries times depth rows, regardless of the library's size.
        columns = hits.toArrow().sort_by("rank").to_pydict()
        for query, document in zip(columns["query_id"], columns["doc_id"], strict=True):
            documents[query].append(document)
    return RetrievedDocuments(documents, truncated, _missing_count(space, judged))


def _scans(queries: list[Query], depth: int) -> Iterator[list[Query]]:
    size = queries_per_scan(depth)
    for start in range(0, len(queries), size):
        yield queries[start : start + size]


def _missing_count(space: OpenSpace, judged: JudgedQueries) -> int:
    ids = space.tables.spark.createDataFrame([(document,) for document in judged.documents], "doc_id string")
    return ids.join(space.vectors.rows.select("doc_id"), "doc_id", "left_anti").count()
