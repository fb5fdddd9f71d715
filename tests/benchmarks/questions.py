"""One question of 120,000 vectors: cold, beside the least that Spark and the model take, and at a warm prompt."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from spark_jobs.settings import Settings
from tests.benchmarks.fixed_cost import settings_for, write_texts
from tests.benchmarks.own_process import in_own_process
from tests.benchmarks.texts import MODEL, synsets
from tests.validate.outcome import Outcome

_DIMENSION = 384
_WARM = 7


def make_library(source: str, store: str) -> None:
    """Embeds definitions as random unit vectors, and registers them as those of MiniLM.

    Args:
        source: Parquet file with id and text.
        store: Folder of the store.
    """
    from spark_jobs.embed_library import run
    from spark_jobs.runtime.session import get_session
    from spark_jobs.settings.specs import chunk_spec, inference_spec
    from spark_jobs.store.spaces import register
    from spark_jobs.store.tables import delta_session

    made = settings_for(source, store, f"fake:{_DIMENSION}", "torch")
    spark = get_session(made.spark, quiet=True)
    run(spark, made)
    asked = _asked(source, store)
    shutil.copytree(f"{store}/bench/main/vectors", f"{store}/asked/main/vectors")
    model = inference_spec(asked).model
    with delta_session(spark):
        register(spark, asked, model, chunk_spec(asked, model), is_first=True)


def ask_questions(source: str, store: str, count: int) -> list[float]:
    """Does what the command does for its questions, in a process that has just come up.

    Args:
        source: Parquet file with id and text.
        store: Folder of the store.
        count: Number of questions.

    Returns:
        Seconds until the first answer, then those of each further one.
    """
    began = time.perf_counter()
    from spark_jobs.runtime.session import get_session
    from spark_jobs.search.nearest import SearchOptions
    from spark_jobs.search.question import ask, load_here, prepare_search

    settings = _asked(source, store)
    local = load_here(settings)
    spark = get_session(settings.spark, quiet=True)
    seconds = []
    prepared = prepare_search(spark, settings, load=lambda _: local)
    for number in range(count):
        hits = ask(prepared, f"a bird that hunts {number} mice", SearchOptions()).hits
        assert len(hits) == 10
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    return seconds


def least_question(source: str, store: str) -> float:
    """Starts a session, loads the model meanwhile, and scans the embeddings once, in a process that has just come up.

    Args:
        source: Parquet file with id and text.
        store: Folder of the store.

    Returns:
        Seconds.
    """
    began = time.perf_counter()
    from spark_jobs.runtime.session import get_session
    from spark_jobs.search.queries import embed_here, query_model
    from spark_jobs.search.question import load_here
    from spark_jobs.store.tables import delta_session

    settings = _asked(source, store)
    local = load_here(settings)
    spark = get_session(settings.spark, quiet=True)
    with delta_session(spark):
        embedded = embed_here(local.encoder(), query_model(local.described), [("q", "a bird that hunts mice")])
        rows = spark.read.format("delta").load(f"{store}/asked/main/vectors").select("chunk_id", "embedding")
        hits = rows.mapInArrow(_best_of_batches(embedded.matrix[0]), "chunk_id string, score float")
        hits.orderBy("score", ascending=False).limit(10).collect()
    return time.perf_counter() - began


def _best_of_batches(query: "np.ndarray[Any, np.dtype[np.float32]]") -> Any:
    def best(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            flat: Any = batch.column("embedding")
            scores = flat.flatten().to_numpy().reshape(len(batch), -1) @ query
            order = pa.array(np.argsort(-scores)[:10])
            taken = batch.column("chunk_id").take(order)
            yield pa.RecordBatch.from_arrays([taken, pa.array(scores).take(order)], ["chunk_id", "score"])

    return best


def _asked(source: str, store: str) -> Settings:
    return settings_for(source, store, str(MODEL), "torch").model_copy(update={"library": "asked"})


def prompt(outcome: Outcome, rounds: int = 2) -> None:
    """Asks questions of 120,630 vectors.

    Args:
        outcome: Where figures and checks go.
        rounds: How often cold processes take turns.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    source, store = write_texts(folder / "texts.parquet", synsets()), str(folder / "lake")
    in_own_process(make_library, source, store)
    least, cold, warm = [], [], []
    for _ in range(rounds):
        least.append(in_own_process(least_question, source, store))
        first, second, *others = in_own_process(ask_questions, source, store, 2 + _WARM)
        cold.append(first)
        warm += others
        outcome.measured(
            least_seconds=least[-1], cold_seconds=first, second_seconds=second, warm_seconds=median(others)
        )
    outcome.at_most("a cold question by session, scan and model", median(cold) / median(least), 1.3)
    outcome.at_most("a question at a warm prompt, seconds", median(warm), 3)
    shutil.rmtree(folder)
