"""Search over the batches of a partition for one query: the best rows come whole, whatever the batches are."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from udfs.search import ROW, QueryBatch, search_whole_rows

DIMENSION = 6
DRAWN = np.random.default_rng(7).standard_normal((60, DIMENSION)).astype(np.float32)
# Every third vector again: ties are in the order of ids.
DRAWN[::3] = DRAWN[0]
IDS = [f"c{number:02}" for number in np.random.default_rng(8).permutation(60)]
DOCUMENTS = [f"d{number % 11}" for number in range(60)]
QUERY = np.array([[1, -2, 0.5, 3, 0, 1]], np.float32)


def batches(sizes: list[int]) -> Iterator[pa.RecordBatch]:
    rows = [{"a.b": number, "text": f"text {number}"} for number in range(60)]
    whole = pa.table({"chunk_id": IDS, "doc_id": DOCUMENTS, "embedding": list(DRAWN), ROW: rows})
    start = 0
    for size in sizes:
        yield from whole.slice(start, size).combine_chunks().to_batches()
        start += size


def query_of(k: int, per_document: bool) -> QueryBatch:
    return QueryBatch(
        embeddings=QUERY.tobytes(),
        dimension=DIMENSION,
        k=k,
        per_document=per_document,
        precision="float32",
        ranges=None,
    )


@pytest.mark.parametrize("per_document", [False, True])
@pytest.mark.parametrize("sizes", [[60], [1] * 60, [7, 23, 29, 1]], ids=["one", "each", "some"])
@pytest.mark.parametrize("k", [1, 5, 100])
def test_the_best_rows_of_a_partition_come_whole(sizes: list[int], k: int, per_document: bool) -> None:
    found = pa.Table.from_batches(search_whole_rows(query_of(k, per_document))(batches(sizes))).to_pylist()
    scores = (DRAWN.astype(np.float64) @ QUERY[0].astype(np.float64)).astype(np.float32)
    order = sorted(range(60), key=lambda place: (-scores[place], IDS[place]))
    if per_document:
        order = [place for at, place in enumerate(order) if DOCUMENTS[place] not in [DOCUMENTS[p] for p in order[:at]]]
    assert found == [
        {
            "score": scores[place],
            "chunk_id": IDS[place],
            "doc_id": DOCUMENTS[place],
            ROW: {"a.b": place, "text": f"text {place}"},
        }
        for place in order[:k]
    ]


def test_a_partition_without_rows_has_no_hits() -> None:
    assert list(search_whole_rows(query_of(3, False))(iter(()))) == []
