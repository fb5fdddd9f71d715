"""Exact search over batches, for targets that have no index of their own."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.target_rows import Keys, as_ids, as_keys, matrix_of


def exact_nearest(batches: Iterable[pa.RecordBatch], asked: NDArray[np.float32], k: int) -> list[list[str]]:
    """Finds the vectors with the greatest dot products, in memory of one batch.

    Args:
        batches: Columns chunk_id string, embedding fixed_size_list<float32>[dimension].
        asked: (n, dimension) float32.
        k: Most hits for each, 1 or more.

    Returns:
        For each vector asked for, chunk ids, best first; of equal ones the smaller id first.
    """
    scores = [np.empty(0, dtype=np.float32) for _ in asked]
    keys = [np.empty(0, dtype="S16") for _ in asked]
    for batch in batches:
        found = asked @ matrix_of(batch.column("embedding")).T
        ids = as_keys(batch.column("chunk_id"))
        for at, row in enumerate(found):
            merged, named = np.concatenate([scores[at], row]), np.concatenate([keys[at], ids])
            scores[at], keys[at] = _best(merged, named, k)
    # None of them is null, which the stubs cannot know.
    found_ids: list[list[Any]] = [as_ids(row).to_pylist() for row in keys]
    return found_ids


def _best(scores: NDArray[np.float32], keys: Keys, k: int) -> tuple[NDArray[np.float32], Keys]:
    if len(scores) > k:
        # Equal ones are kept for the ids to decide: the answer is the same however the batches were cut.
        likely = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        scores, keys = scores[likely], keys[likely]
    order = np.lexsort((keys, -scores))[:k]
    return scores[order], keys[order]
