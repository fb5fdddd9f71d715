"""The documents that a space retrieves from a sample of the library, for judged queries or for the sample itself."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.precision import OutputPrecision
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.evaluation.retrieval import without_own
from spark_jobs.evaluation.sampled import Hits
from spark_jobs.search.nearest import queries_per_scan, query_batch, ranked
from spark_jobs.search.queries import embed_on_executors, query_model
from spark_jobs.settings.sections import InferenceSettings
from udfs.quantization import Ranges, restored
from udfs.specs import InferenceSpec
from udfs.topk import Matrix

# With so many, an overlap is known to about a hundredth.
_MOST_DOCUMENTS = 1_000


@dataclass(frozen=True)
class SampledSpace:
    """Rows of one space, and how to read their embeddings.

    Attributes:
        rows: Columns chunk_id, doc_id and embedding, among others.
        dimension: Numbers in an embedding.
        precision: How they are stored.
        ranges: Lowest and highest value of each number, if they are stored as int8.
    """

    rows: DataFrame
    dimension: int
    precision: OutputPrecision
    ranges: Ranges | None


@dataclass(frozen=True)
class ComparedRows:
    """What is searched: both spaces within the sample, and the baseline as a whole."""

    baseline: SampledSpace
    candidate: SampledSpace
    whole: SampledSpace


@dataclass(frozen=True)
class JudgedHits:
    """What judged queries find in each: document ids of each query, best first."""

    baseline: Hits
    candidate: Hits
    whole: Hits


def search_judged(
    rows: ComparedRows,
    models: tuple[InferenceSpec, InferenceSpec],
    judged: JudgedQueries,
    settings: InferenceSettings,
    depth: int,
) -> JudgedHits:
    """Searches the sample in both spaces, and the whole baseline, for judged queries.

    Args:
        rows: What to search.
        models: The models of baseline and candidate, with their ranges.
        judged: The queries.
        settings: How inference asks for resources.
        depth: Maximum number of documents per query.

    Returns:
        What they find.

    Raises:
        InputError: A model cannot embed a query.
    """
    spark, queries = rows.whole.rows.sparkSession, list(judged.queries.items())
    ours, theirs = (embed_on_executors(spark, query_model(model), queries, settings).matrix for model in models)
    return JudgedHits(
        baseline=retrieve_sampled(rows.baseline, judged, ours, depth),
        candidate=retrieve_sampled(rows.candidate, judged, theirs, depth),
        whole=retrieve_sampled(rows.whole, judged, ours, depth),
    )


def search_neighbours(rows: ComparedRows, documents: Collection[str], k: int, seed: int) -> tuple[Hits, Hits]:
    """Finds the nearest other documents of sampled documents in both spaces.

    Args:
        rows: What to search.
        documents: Ids of the sampled documents, of which at most 1,000 are drawn.
        k: Maximum number of documents for each.
        seed: Decides which are drawn.

    Returns:
        What baseline and candidate find for each document that has vectors in both.
    """
    names = np.array(sorted(documents), dtype=object)
    drawn = np.random.default_rng(seed).permutation(len(names))[:_MOST_DOCUMENTS]
    chosen = [str(name) for name in names[np.sort(drawn)]]
    first, second = (neighbours(space, chosen, k) for space in (rows.baseline, rows.candidate))
    shared = first.keys() & second.keys()
    return {name: first[name] for name in first if name in shared}, {name: second[name] for name in shared}


def retrieve_sampled(space: SampledSpace, judged: JudgedQueries, matrix: Matrix, depth: int) -> Hits:
    """Finds the nearest documents of judged queries; leaves out a query's own document, as `evaluate` does.

    Args:
        space: The rows to search, which may be the whole space.
        judged: The queries.
        matrix: (queries, dimension) float32, in their order.
        depth: Maximum number of documents per query.

    Returns:
        Document ids of each query, best first.
    """
    found = nearest_documents(space, matrix, depth + 1)
    others, _ = without_own(judged, dict(zip(judged.queries, found, strict=True)), depth)
    return others


def neighbours(space: SampledSpace, documents: Sequence[str], k: int) -> Hits:
    """Finds the nearest other documents of documents, each by the mean of its chunks' vectors.

    Args:
        space: The rows to search, which have these documents.
        documents: Their ids.
        k: Maximum number of documents for each.

    Returns:
        Document ids for each document that has vectors, best first.
    """
    vectors = _mean_vectors(space, documents)
    if not vectors:
        return {}
    found = nearest_documents(space, np.stack(list(vectors.values())), k + 1)
    return {
        document: [other for other in others if other != document][:k]
        for document, others in zip(vectors, found, strict=True)
    }


def nearest_documents(space: SampledSpace, matrix: Matrix, k: int) -> list[list[str]]:
    """Finds the documents whose best chunk is nearest to each query.

    Args:
        space: The rows to search.
        matrix: (queries, dimension) float32.
        k: Maximum number of documents per query.

    Returns:
        Document ids of each query, best first.
    """
    found: list[list[str]] = [[] for _ in matrix]
    size = queries_per_scan(k)
    for start in range(0, len(matrix), size):
        batch = query_batch(space, matrix[start : start + size], k, per_document=True)
        # Queries times k rows, regardless of the library's size.
        hits = ranked(space.rows, batch).select("query", "rank", "doc_id").toArrow().sort_by("rank").to_pydict()
        for query, document in zip(hits["query"], hits["doc_id"], strict=True):
            found[start + query].append(document)
    return found


def _mean_vectors(space: SampledSpace, documents: Collection[str]) -> dict[str, Matrix]:
    ids = space.rows.sparkSession.createDataFrame([(name,) for name in documents], "doc_id string")
    rows = space.rows.join(F.broadcast(ids), "doc_id", "left_semi").select("doc_id", "embedding").toArrow()
    chunks: dict[str, list[Matrix]] = {}
    for document, stored in zip(rows["doc_id"].to_pylist(), rows["embedding"].to_numpy(), strict=True):
        chunks.setdefault(str(document), []).append(restored(stored, space.precision, space.ranges))
    return {name: np.mean(chunks[name], axis=0, dtype=np.float32) for name in documents if name in chunks}
