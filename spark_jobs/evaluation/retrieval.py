"""What a space finds for judged queries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.search.nearest import SearchOptions, nearest, queries_per_scan
from spark_jobs.search.queries import Query, embed_queries
from spark_jobs.store.open_space import OpenSpace
from udfs.specs import InferenceSpec


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


def find_documents(space: OpenSpace, model: InferenceSpec, judged: JudgedQueries, depth: int) -> RetrievedDocuments:
    """Searches for all judged queries.

    Args:
        space: The space.
        model: Its model, as `search_model` describes it.
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
        embedded = embed_queries(space, model, queries)
        truncated += len(embedded.truncated)
        options = SearchOptions(k=depth, per_document=True)
        hits = nearest(space, space.vectors.rows, embedded, options).select("query_id", "rank", "doc_id")
        # As many rows as queries times depth, whatever the size of the library.
        columns = hits.toArrow().sort_by("rank").to_pydict()
        for query, document in zip(columns["query_id"], columns["doc_id"], strict=True):
            documents[query].append(document)
    return RetrievedDocuments(documents, truncated, _missing(space, judged))


def _passes(queries: list[Query], depth: int) -> Iterator[list[Query]]:
    size = queries_per_scan(depth)
    for start in range(0, len(queries), size):
        yield queries[start : start + size]


def _missing(space: OpenSpace, judged: JudgedQueries) -> int:
    ids = space.tables.spark.createDataFrame([(document,) for document in judged.documents], "doc_id string")
    return ids.join(space.vectors.rows.select("doc_id"), "doc_id", "left_anti").count()
