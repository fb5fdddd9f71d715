"""Indexes find what an exact search finds: when new, after changes, and after they outgrow their first form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from spark_jobs.targets import faiss_index
from tests.targets.exports import export, opened
from tests.targets.rows import ids_of, shape_of

Matrix = NDArray[np.float32]


def unit(matrix: NDArray[np.float64]) -> Matrix:
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def random_vectors(rows: int, dimension: int, seed: int = 0) -> Matrix:
    return unit(np.random.default_rng(seed).normal(size=(rows, dimension)))


def clustered_vectors(rows: int, dimension: int, seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(50, dimension))
    return unit(centres[rng.integers(50, size=rows)] + 0.3 * rng.normal(size=(rows, dimension)))


def as_batch(ids: list[str], vectors: Matrix, run: str = "r1") -> pa.RecordBatch:
    shape = shape_of([], vectors.shape[1])
    n = len(ids)
    columns = {
        "chunk_id": pa.array(ids, pa.string()),
        **{name: pa.array(["x"] * n) for name in ("doc_id", "text")},
        **{name: pa.array([0] * n, pa.int32()) for name in ("chunk_index", "char_start", "char_end")},
        "run_id": pa.array([run] * n),
        "embedding": pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.ravel()), type=shape.rows.field("embedding").type
        ),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in shape.rows.names], schema=shape.rows)


def recall(to: str, ids: list[str], vectors: Matrix, asked: Matrix, k: int = 10) -> float:
    exact = np.argsort(-(asked @ vectors.T), axis=1)[:, :k]
    with opened(to) as target:
        target.prepare(shape_of([], vectors.shape[1]), False)
        assert target.count() == len(ids)
        found = target.nearest(asked, k)
    hits = [len({ids[at] for at in right} & set(got)) for right, got in zip(exact, found, strict=True)]
    return sum(hits) / exact.size


@pytest.mark.parametrize("vectors_of", [random_vectors, clustered_vectors])
@pytest.mark.parametrize("kind", ["faiss", "usearch"])
def test_nearly_all_of_the_ten_nearest_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, vectors_of: Callable[..., Matrix]
) -> None:
    # FAISS only uses lists for far more rows than a test wants to write.
    monkeypatch.setattr(faiss_index, "FLAT_ROWS", 2000)
    to, ids, vectors = f"{kind}:{tmp_path / 'target'}", ids_of(range(6000)), vectors_of(7000, 64)
    rows, asked, shape = vectors[:6000], vectors[6000:6200], shape_of([], 64)
    export(to, [as_batch(ids, rows)], shape=shape)
    assert recall(to, ids, rows, asked) >= 0.99
    # A third of the rows are replaced by others, and a third are removed.
    changed = np.concatenate([vectors_of(2000, 64, seed=1), rows[2000:4000]])
    export(to, [as_batch(ids[:2000], changed[:2000], "r2")], ids[4000:], shape=shape)
    assert recall(to, ids[:4000], changed, asked) >= 0.99


def test_a_library_that_grows_goes_over_to_lists_and_one_that_shrinks_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faiss = pytest.importorskip("faiss")
    monkeypatch.setattr(faiss_index, "FLAT_ROWS", 1000)
    to, ids, vectors = f"faiss:{tmp_path / 'target'}", ids_of(range(5000)), random_vectors(5000, 16)
    shape = shape_of([], 16)

    def step(start: int, stop: int, removed: list[str]) -> object:
        export(to, [as_batch(ids[start:stop], vectors[start:stop])], removed, shape=shape)
        (path,) = (tmp_path / "target").glob("index-*.faiss")
        index = faiss.read_index(str(path))
        return getattr(index, "nlist", "flat")

    assert step(0, 900, []) == "flat"
    lists = step(900, 1200, [])
    assert lists == int(4 * np.sqrt(1200))
    assert step(1200, 2000, []) == lists
    assert step(2000, 5000, []) == int(4 * np.sqrt(5000))
    assert recall(to, ids, vectors, vectors[:50]) >= 0.99
    assert step(0, 0, ids[400:]) == "flat"
    assert recall(to, ids[:400], vectors[:400], vectors[:50]) == 1


def test_an_index_whose_rows_were_replaced_again_and_again_still_finds_them(tmp_path: Path) -> None:
    to, ids, shape = f"usearch:{tmp_path / 'target'}", ids_of(range(800)), shape_of([], 16)
    for seed in range(5):
        vectors = random_vectors(800, 16, seed)
        export(to, [as_batch(ids, vectors, f"r{seed}")], shape=shape)
        assert recall(to, ids, vectors, vectors[:50]) >= 0.99


def test_equal_vectors_are_all_found(tmp_path: Path) -> None:
    ids, vectors = ids_of(range(20)), np.repeat(random_vectors(1, 8), 20, axis=0)
    for kind in ("parquet", "faiss", "usearch"):
        to = f"{kind}:{tmp_path / kind}"
        export(to, [as_batch(ids, vectors)], shape=shape_of([], 8))
        with opened(to) as target:
            target.prepare(shape_of([], 8), False)
            assert set(target.nearest(vectors[:1], 20)[0]) == set(ids)


def test_an_exact_search_orders_equal_vectors_by_id_however_they_lie_in_files(tmp_path: Path) -> None:
    ids, vectors = ids_of(range(20)), np.repeat(random_vectors(1, 8), 20, axis=0)
    to = f"parquet:{tmp_path / 'target'}"
    export(to, [as_batch(ids, vectors)], shape=shape_of([], 8))
    with opened(to) as target:
        target.prepare(shape_of([], 8), False)
        assert target.nearest(vectors[:1], 7) == [sorted(ids)[:7]]
