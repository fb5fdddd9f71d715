"""The checks at the end of an export: the number of rows, and the recall of the target's own index."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import functions as F

from schemas.errors import ReconciliationError
from spark_jobs.search.nearest import query_batch, ranked
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.targets.target import Target
from udfs.quantization import restored

NEIGHBOURS = 10
SAMPLE = 50
# Chunks as near as the last neighbor also count as neighbors, among this many hits of exact search.
_EXACT = 100
# Float32 products that differ by less are equal, because indexes add in a different order from exact search.
_TOLERANCE = 1e-5
Hits = Sequence[tuple[str, float]]


def check_count(space: OpenSpace, target: str, held: int) -> None:
    """Raises a ReconciliationError if the target does not hold as many rows as the table."""
    vectors = space.vectors
    if held != vectors.count:
        raise ReconciliationError(
            f"{target} holds {held:,} rows, but vectors of space {space.name} has {vectors.count:,} at version "
            f"{vectors.version}. Make sure that nothing else writes to the target and that embedlake verify finds no "
            "fault, then export again with --full."
        )


def measure_recall(space: OpenSpace, target: Target) -> float | None:
    """Returns the target's average recall@10 for a sample of stored vectors; None if there are no rows.

    Reads the embeddings twice: for the sample, and for the exact search.
    """
    queries = _sample(space)
    if not len(queries):
        return None
    return recall(target.nearest(queries, NEIGHBOURS), _exact_nearest(space, queries), NEIGHBOURS)


def recall(found: Sequence[Sequence[str]], exact: Mapping[int, Hits], k: int) -> float:
    """Averages the share of true neighbors that were found.

    If several rows are equally near, as repeated texts are, any of them is a true neighbor.

    Args:
        found: Chunk ids found for each query.
        exact: Chunk ids and dot products of the true neighbors by query number, best first; more than k of them if
            ties are to count.
        k: Number of neighbors that count for each query.

    Returns:
        Recall@k.

    Example:
        >>> recall([["a", "c"]], {0: [("a", 1.0), ("b", 0.5), ("c", 0.5)]}, 2)
        1.0
    """
    shares = []
    for number, ids in enumerate(found):
        hits = exact.get(number, ())
        size = min(k, len(hits))
        if size:
            least = hits[size - 1][1]
            near = {chunk_id for chunk_id, score in hits if score >= least - _TOLERANCE * abs(least)}
            shares.append(len(near.intersection(ids[:k])) / size)
    return float(np.mean(shares)) if shares else 0.0


def _sample(space: OpenSpace) -> NDArray[np.float32]:
    """Draws vectors from the whole table by a hash of their chunk id, the same ones each time."""
    rows = space.vectors.rows
    # A fixed number of rows, regardless of the library's size; their ids let Delta skip files.
    drawn = rows.select("chunk_id").orderBy(F.xxhash64("chunk_id"), "chunk_id").limit(SAMPLE).collect()
    sample = (
        rows.where(F.col("chunk_id").isin([row.chunk_id for row in drawn])).select("chunk_id", "embedding").collect()
    )
    stored = [row.embedding for row in sorted(sample, key=lambda row: str(row.chunk_id))]
    if not stored:
        return np.zeros((0, space.dimension), dtype=np.float32)
    return restored(stored, space.precision, space.ranges)


def _exact_nearest(space: OpenSpace, queries: NDArray[np.float32]) -> dict[int, list[tuple[str, float]]]:
    batch = query_batch(space, queries, _EXACT, per_document=False)
    hits = ranked(space.vectors.rows, batch).orderBy("query", "rank").select("query", "chunk_id", "score")
    exact: dict[int, list[tuple[str, float]]] = {}
    # A fixed number of hits for each query, regardless of the library's size.
    for row in hits.collect():
        exact.setdefault(row["query"], []).append((row["chunk_id"], row["score"]))
    return exact
