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
        own_documents: Number of queries whose own document was retrieved and left out.
    """

    documents: Mapping[str, Sequence[str]]
    truncated: int
    missing: int
    own_documents: int


def retrieve_documents(
    space: OpenSpace, model: InferenceSpec, judged: JudgedQueries, depth: int, keep_identical_ids: bool = False
) -> RetrievedDocuments:
    """Searches a space for all judged queries.

    Args:
        space: The space.
        model: Its model, as `search_model` describes it.
        judged: The queries.
        depth: Maximum number of documents per query.
        keep_identical_ids: Whether a document counts for the query with its id. If not, see `without_own`.

    Returns:
        The documents; a query without hits has an empty list.

    Raises:
        InputError: The model cannot embed a query.
    """
    documents: dict[str, list[str]] = {query: [] for query in judged.queries}
    truncated = 0
    # One more, so that `depth` remain without a query's own document.
    fetched = depth if keep_identical_ids else depth + 1
    for queries in _scans(list(judged.queries.items()), fetched):
        embedded = embed_queries(space, model, queries)
        truncated += len(embedded.truncated)
        options = SearchOptions(k=fetched, per_document=True)
        hits = nearest(space, space.vectors.rows, embedded, options).select("query_id", "rank", "doc_id")
        # Queries times depth rows, regardless of the library's size.
        columns = hits.toArrow().sort_by("rank").to_pydict()
        for query, document in zip(columns["query_id"], columns["doc_id"], strict=True):
            documents[query].append(document)
    missing = _missing_count(space, judged)
    if keep_identical_ids:
        return RetrievedDocuments(documents, truncated, missing, 0)
    others, own_documents = without_own(judged, documents, depth)
    return RetrievedDocuments(others, truncated, missing, own_documents)


def without_own(
    judged: JudgedQueries, documents: Mapping[str, Sequence[str]], depth: int
) -> tuple[dict[str, list[str]], int]:
    """Leaves out the document that has the query's id.

    Where queries are documents of the library, each finds itself first, and published scores leave it out. A document
    that is judged relevant to the query with its id is not the query itself, and stays.

    Args:
        judged: The queries and their judgments.
        documents: Document ids of each query, best first, one more than `depth`.
        depth: Maximum number of documents per query that remain.

    Returns:
        The other documents of each query, and how many queries had theirs among the documents.
    """
    others: dict[str, list[str]] = {}
    own_documents = 0
    for query, found in documents.items():
        is_left_out = query in found and judged.grades[query].get(query, 0) == 0
        own_documents += is_left_out
        others[query] = [document for document in found if not (is_left_out and document == query)][:depth]
    return others, own_documents


def _scans(queries: list[Query], depth: int) -> Iterator[list[Query]]:
    size = queries_per_scan(depth)
    for start in range(0, len(queries), size):
        yield queries[start : start + size]


def _missing_count(space: OpenSpace, judged: JudgedQueries) -> int:
    ids = space.tables.spark.createDataFrame([(document,) for document in judged.documents], "doc_id string")
    return ids.join(space.vectors.rows.select("doc_id"), "doc_id", "left_anti").count()
