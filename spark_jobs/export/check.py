"""The check at the end of every export: as many rows as the table has, and neighbours as exact search finds them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import functions as F

from schemas.errors import ReconciliationError
from spark_jobs.search.nearest import ranked
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.targets.target import Target
from udfs.quantization import restored
from udfs.search import QueryBatch

NEIGHBOURS = 10
SAMPLE = 50
# Chunks that are as near as the last neighbour count as neighbours too, as far down as exact search is asked.
_EXACT = 100
# Products of float32 that differ by less are equal: indexes add up in another order than exact search.
_TOLERANCE = 1e-5
Hits = Sequence[tuple[str, float]]


def check_count(space: OpenSpace, target: str, held: int) -> None:
    """Compares the target's number of rows with the table's.

    Args:
        space: What was exported.
        target: Where to, as it may be printed.
        held: Rows that the target holds.

    Raises:
        ReconciliationError: They differ.
    """
    vectors = space.vectors
    if held != vectors.count:
        raise ReconciliationError(
            f"{target} holds {held:,} rows, and vectors of space {space.name} has {vectors.count:,} at version "
            f"{vectors.version}: make sure that nothing else writes there and that embedlake verify finds no fault, "
            "then export again with --full"
        )


def measure_recall(space: OpenSpace, target: Target) -> float | None:
    """Asks the target for the neighbours of a sample of stored vectors, and compares them with exact search.

    Reads the embeddings twice: for the sample, and for the search.

    Args:
        space: What was exported.
        target: Where to.

    Returns:
        Recall@10, averaged over the sample; None where there are no rows.
    """
    asked = _sample(space)
    if not len(asked):
        return None
    return recall(target.nearest(asked, NEIGHBOURS), _nearest(space, asked), NEIGHBOURS)


def recall(found: Sequence[Sequence[str]], exact: Mapping[int, Hits], k: int) -> float:
    """Averages the share of true neighbours among those found.

    Where several rows are equally near, as texts that stand twice are, any of them is a true neighbour.

    Args:
        found: Chunk ids for each vector that was asked for.
        exact: Chunk ids and products of the truly nearest by number of the vector, best first; more than k where ties
            shall count.
        k: Neighbours that count of each.

    Returns:
        Recall@k.

    Example:
        >>> recall([["a", "c"]], {0: [("a", 1.0), ("b", 0.5), ("c", 0.5)]}, 2)
        1.0
    """
    shares = []
    for number, ids in enumerate(found):
        hits = exact.get(number, ())
        wanted = min(k, len(hits))
        if wanted:
            least = hits[wanted - 1][1]
            near = {chunk_id for chunk_id, score in hits if score >= least - _TOLERANCE * abs(least)}
            shares.append(len(near.intersection(ids[:k])) / wanted)
    return float(np.mean(shares)) if shares else 0.0


def _sample(space: OpenSpace) -> NDArray[np.float32]:
    """Draws vectors by a hash of their chunk id: the same for the same table, from all over it."""
    rows = space.vectors.rows
    # A fixed number of rows, whatever the library's size; their ids let Delta pass over files.
    drawn = rows.select("chunk_id").orderBy(F.xxhash64("chunk_id"), "chunk_id").limit(SAMPLE).collect()
    found = (
        rows.where(F.col("chunk_id").isin([row.chunk_id for row in drawn])).select("chunk_id", "embedding").collect()
    )
    stored = [row.embedding for row in sorted(found, key=lambda row: str(row.chunk_id))]
    if not stored:
        return np.zeros((0, space.dimension), dtype=np.float32)
    return restored(stored, space.precision, space.ranges)


def _nearest(space: OpenSpace, asked: NDArray[np.float32]) -> dict[int, list[tuple[str, float]]]:
    wanted = QueryBatch(
        embeddings=np.ascontiguousarray(asked, dtype=np.float32).tobytes(),
        dimension=space.dimension,
        k=_EXACT,
        per_document=False,
        precision=space.precision,
        ranges=space.ranges,
    )
    hits = ranked(space.vectors.rows, wanted).orderBy("query", "rank").select("query", "chunk_id", "score")
    exact: dict[int, list[tuple[str, float]]] = {}
    # So many of each of the sample, whatever the library's size.
    for row in hits.collect():
        exact.setdefault(row["query"], []).append((row["chunk_id"], row["score"]))
    return exact
