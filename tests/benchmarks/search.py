"""Thousands of queries against a library in one job, beside plain numpy and FAISS on the same vectors."""

import json
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from tests.benchmarks.fixed_cost import SLOTS, settings_for, write_texts
from tests.benchmarks.own_process import in_own_process
from tests.benchmarks.texts import short, synsets
from tests.validate.outcome import Outcome
from tests.validate.static_model import make_static_model

_K = 10
# What numpy multiplies at once: products of all queries with all vectors would be 5 GB.
_ROWS = 4096


def embed_and_search(source: str, store: str, model: str, queries: str, out: str, rounds: int) -> dict[str, Any]:
    """Embeds a library and asks it all queries, again and again, in one session.

    Args:
        source: Parquet file with id and text.
        store: Folder of the store.
        model: Model folder.
        queries: Parquet file with id and text.
        out: Folder for the hits of each round.
        rounds: How often.

    Returns:
        Seconds of each round, and the memory of this machine's busiest worker.
    """
    from spark_jobs.embed_library import run as embed
    from spark_jobs.runtime.session import get_session
    from spark_jobs.search.nearest import SearchOptions
    from spark_jobs.search_library import run

    settings = settings_for(source, store, model, "torch")
    spark = get_session(settings.spark, quiet=True)
    embed(spark, settings)
    seconds = []
    for number in range(rounds):
        began = time.perf_counter()
        run(spark, settings, queries, f"{out}/{number}", SearchOptions(k=_K))
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "worker_mebibytes": _largest_worker()}


def _largest_worker() -> float:
    import psutil

    peaks = [0.0]
    for child in psutil.Process().children(recursive=True):
        # A worker may end while it is looked at.
        with suppress(psutil.Error, OSError, IndexError):
            if "pyspark.daemon" in " ".join(child.cmdline()):
                peak = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]
                peaks.append(int(peak) / 1024)
    return max(peaks)


def by_numpy(matrix: np.ndarray, asked: np.ndarray) -> tuple[float, np.ndarray]:
    """Multiplies, partitions and sorts, some rows at a time.

    Args:
        matrix: (n, dimension) float32.
        asked: (q, dimension) float32.

    Returns:
        Seconds, and (q, k) places of the hits.
    """
    began = time.perf_counter()
    scores, places = np.empty((len(asked), 0), np.float32), np.empty((len(asked), 0), np.int64)
    for start in range(0, len(matrix), _ROWS):
        block = asked @ matrix[start : start + _ROWS].T
        best = np.argpartition(-block, min(_K, block.shape[1] - 1), axis=1)[:, :_K]
        scores = np.hstack([scores, np.take_along_axis(block, best, axis=1)])
        places = np.hstack([places, best + start])
        kept = np.argsort(-scores, axis=1)[:, :_K]
        scores, places = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(places, kept, axis=1)
    return time.perf_counter() - began, places


def by_faiss(matrix: np.ndarray, asked: np.ndarray) -> tuple[float, np.ndarray]:
    """Searches a flat index, its making included.

    Args:
        matrix: (n, dimension) float32.
        asked: (q, dimension) float32.

    Returns:
        Seconds, and (q, k) places of the hits.
    """
    import faiss

    faiss.omp_set_num_threads(SLOTS)
    began = time.perf_counter()
    index = faiss.IndexFlatIP(matrix.shape[1])
    index.add(matrix)
    _, places = index.search(asked, _K)
    return time.perf_counter() - began, places


def search(outcome: Outcome, queries: int = 10_000, rounds: int = 3) -> None:
    """Asks 10,000 queries of 120,000 definitions.

    Args:
        outcome: Where figures and checks go.
        queries: How many queries.
        rounds: How often each side answers all of them.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    model = str(make_static_model(folder / "static"))
    texts = synsets()
    # Pages of another library, and definitions of this one once they run out.
    asked = (short(queries) + texts)[:queries]
    source, asking = write_texts(folder / "texts.parquet", texts), write_texts(folder / "queries.parquet", asked)
    lake, out = str(folder / "lake"), str(folder / "hits")
    done = in_own_process(embed_and_search, source, lake, model, asking, out, rounds)
    matrix, ids, vectors = _read(lake, model, asked)
    numpy_seconds, faiss_seconds = [], []
    for _ in range(rounds):
        seconds, places = by_numpy(matrix, vectors)
        numpy_seconds.append(seconds)
        seconds, _ = by_faiss(matrix, vectors)
        faiss_seconds.append(seconds)
    _compare(outcome, f"{out}/0", ids, places, matrix, vectors)
    # The first round of a session compiles and starts workers.
    spark_seconds = median(done["seconds"][1:])
    outcome.measured(queries=len(asked), vectors=len(matrix), dimension=matrix.shape[1], k=_K)
    outcome.measured(rounds_of_the_job=json.dumps([round(value, 1) for value in done["seconds"]]))
    for name, value in (
        ("job", spark_seconds),
        ("numpy", median(numpy_seconds)),
        ("faiss flat", median(faiss_seconds)),
    ):
        outcome.measured(**{f"{name} seconds": value, f"{name} queries/s": len(asked) / value})
    outcome.measured(largest_worker_mebibytes=done["worker_mebibytes"])
    outcome.at_most("memory of a worker, MiB", done["worker_mebibytes"], 3000)
    shutil.rmtree(folder)


def _read(lake: str, model: str, asked: list[str]) -> tuple[np.ndarray, list[str], np.ndarray]:
    from sentence_transformers import SentenceTransformer

    query = "SELECT chunk_id, embedding FROM t ORDER BY chunk_id"
    rows = pa.table(QueryBuilder().register("t", DeltaTable(f"{lake}/bench/main/vectors")).execute(query).read_all())
    ids = rows["chunk_id"].to_pylist()
    flat = rows["embedding"].combine_chunks().flatten().to_numpy()
    # Its weights are stored in half precision, and the job computes in float32.
    vectors = SentenceTransformer(model, device="cpu").float().encode_query(asked, batch_size=1024)
    return flat.reshape(len(ids), -1), ids, np.asarray(vectors, np.float32)


def _compare(
    outcome: Outcome, out: str, ids: list[str], places: np.ndarray, matrix: np.ndarray, vectors: np.ndarray
) -> None:
    query = "SELECT query_id, chunk_id FROM t ORDER BY query_id, rank"
    rows = pa.table(QueryBuilder().register("t", DeltaTable(out)).execute(query).read_all())
    found = np.array(rows["chunk_id"].to_pylist()).reshape(-1, _K)
    place_of = {chunk_id: place for place, chunk_id in enumerate(ids)}
    ours = np.vectorize(place_of.__getitem__)(found)
    # Places differ where scores tie or nearly do; the scores themselves must not.
    products = [
        np.einsum("qd,qkd->qk", vectors[s : s + 500], matrix[p[s : s + 500]])
        for p in (ours, places)
        for s in range(0, len(vectors), 500)
    ]
    half = len(products) // 2
    difference = np.abs(np.vstack(products[:half]) - np.vstack(products[half:])).max()
    outcome.at_most("largest difference of a hit's score from numpy's", float(difference), 1e-5)
