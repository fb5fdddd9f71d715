"""Exact top-k checked against an exhaustive search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.topk import Matrix, Rows, top_k

DIMENSION = 8
Hit = tuple[int, float, str]


def table(count: int, seed: int = 0, documents: int = 5) -> Rows:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, DIMENSION)).astype(np.float32)
    ids = [f"{number:08x}" for number in random.permutation(count)]
    return Rows(np.array(ids, object), np.array([f"doc {n % documents}" for n in range(count)], object), matrix)


def queries(count: int) -> Matrix:
    return np.random.default_rng(1).normal(size=(count, DIMENSION)).astype(np.float32)


def parts(rows: Rows, size: int) -> list[Rows]:
    cuts = [slice(start, start + size) for start in range(0, len(rows.matrix), size)]
    return [Rows(rows.chunk_ids[cut], rows.doc_ids[cut], rows.matrix[cut]) for cut in cuts]


def everything(asked: Matrix, rows: Rows, k: int, per_document: bool = False) -> list[Hit]:
    found = []
    for query, vector in enumerate(asked.astype(np.float64)):
        scores = [float(np.float32(np.sum(row * vector))) for row in rows.matrix.astype(np.float64)]
        ranked = sorted(zip(scores, rows.chunk_ids, rows.doc_ids, strict=True), key=lambda hit: (-hit[0], hit[1]))
        seen: set[str] = set()
        kept = [hit for hit in ranked if not (per_document and (hit[2] in seen or seen.add(hit[2])))]
        found += [(query, score, chunk) for score, chunk, _ in kept[:k]]
    return found


def hits(asked: Matrix, batches: list[Rows], k: int, per_document: bool = False) -> list[Hit]:
    found = top_k(asked, batches, k, per_document)
    return list(zip(found["query"], found["score"], found["chunk_id"], strict=True))


def same(found: list[Hit], expected: list[Hit]) -> bool:
    ids = [(query, chunk) for query, _, chunk in found] == [(query, chunk) for query, _, chunk in expected]
    return ids and np.allclose([hit[1] for hit in found], [hit[1] for hit in expected], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("per_document", [False, True])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_hits_match_a_search_through_everything(k: int, per_document: bool) -> None:
    rows, asked = table(200), queries(7)
    assert same(hits(asked, [rows], k, per_document), everything(asked, rows, k, per_document))


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 60),
    size=st.integers(1, 60),
    k=st.integers(1, 70),
    per_document=st.booleans(),
    copies=st.booleans(),
)
def test_how_rows_are_cut_into_batches_changes_nothing(
    count: int, size: int, k: int, per_document: bool, copies: bool
) -> None:
    rows, asked = table(count), queries(3)
    if copies and count:
        rows = Rows(rows.chunk_ids, rows.doc_ids, rows.matrix[np.arange(count) % 4 % count])
    assert hits(asked, parts(rows, size), k, per_document) == hits(asked, [rows], k, per_document)
    assert same(hits(asked, [rows], k, per_document), everything(asked, rows, k, per_document))


def test_equal_scores_are_ordered_by_id() -> None:
    rows = Rows(
        np.array(["c", "a", "b"], object), np.array(["x", "y", "z"], object), np.ones((3, DIMENSION), np.float32)
    )
    asked = np.ones((1, DIMENSION), np.float32)
    assert hits(asked, [rows], 2) == [(0, 8.0, "a"), (0, 8.0, "b")]
    assert hits(asked, parts(rows, 1), 2) == [(0, 8.0, "a"), (0, 8.0, "b")]


def test_more_hits_than_rows_give_all_rows() -> None:
    rows, asked = table(4), queries(2)
    assert same(hits(asked, [rows], 100), everything(asked, rows, 4))


def test_no_rows_and_no_queries_give_no_hits() -> None:
    assert hits(queries(2), [], 3) == []
    assert hits(queries(2), [table(0)], 3) == []
    assert hits(np.zeros((0, DIMENSION), np.float32), [table(3)], 3) == []


def test_many_queries_and_rows_are_searched_in_tiles() -> None:
    rows, asked = table(8300, documents=3000), queries(1100)
    products = asked.astype(np.float64) @ rows.matrix.astype(np.float64).T
    found = hits(asked, parts(rows, 5000), 3)
    first = np.argpartition(-products, 3, axis=1)[:, :3]
    ranked = [sorted(few, key=lambda n: -row[n]) for few, row in zip(first, products, strict=True)]
    assert [hit[2] for hit in found] == [rows.chunk_ids[n] for few in ranked for n in few]
    best = [hit[2] for hit in hits(asked, [rows], 1, per_document=True)]
    assert best == [rows.chunk_ids[int(row.argmax())] for row in products]


def test_a_document_counts_once_by_its_best_chunk() -> None:
    matrix = np.array([[1.0, 0], [0.9, 0], [0.8, 0], [0.1, 0]], np.float32)
    rows = Rows(np.array(list("abcd"), object), np.array(["x", "x", "y", "z"], object), matrix)
    found = top_k(np.array([[1.0, 0]], np.float32), [rows], 2, per_document=True)
    assert found[["chunk_id", "doc_id"]].values.tolist() == [["a", "x"], ["c", "y"]]


def test_long_vectors_do_not_hide_short_ones() -> None:
    # Rounding grows with the length of a vector, and candidates are chosen with a margin for it.
    rows = table(300)
    rows.matrix[7] *= 1e6
    asked = queries(4)
    assert same(hits(asked, parts(rows, 50), 5), everything(asked, rows, 5))
