"""What Spark leaves of the engine's own rate: the inference step of a job in a warm session against bare processes."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.fixed_cost import SLOTS, settings_for, write_texts
from tests.benchmarks.texts import MODEL, mixed
from tests.validate.outcome import Outcome

# In how many parts the engine embeds the texts, each shorter than what Spark's idle workers live.
_PARTS = 4
_SPEC: dict[str, Any] = {"device": "cpu", "dtype": "float32", "backend": "openvino"}


def embed_share(texts: Sequence[str]) -> int:
    """Embeds texts by the engine alone, on one core as a task of Spark has it; the model stays loaded.

    Args:
        texts: Texts.

    Returns:
        How many there were.
    """
    from udfs.encoders.encoder import load_encoder
    from udfs.inference.engine import embed_texts
    from udfs.models.source import describe_model
    from udfs.specs import InferenceSpec

    spec = InferenceSpec(model=describe_model(str(MODEL)), **_SPEC)
    return len(embed_texts(load_encoder(spec, cores=1), texts, spec).matrix)


@contextmanager
def bare_processes(pools: int = SLOTS) -> Iterator[list[ProcessPoolExecutor]]:
    """Starts one process for each slot.

    Args:
        pools: How many.

    Yields:
        Pools of one process each, so that each share goes to a process of its own.
    """
    started = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(pools)]
    try:
        yield started
    finally:
        for pool in started:
            pool.shutdown()


def by_engine(pools: list[ProcessPoolExecutor], texts: list[str]) -> float:
    """Times the engine alone in as many processes as slots.

    Args:
        pools: Warm processes.
        texts: Texts, split evenly over them.

    Returns:
        Seconds.
    """
    began = time.perf_counter()
    running = [pool.submit(embed_share, texts[number :: len(pools)]) for number, pool in enumerate(pools)]
    assert sum(task.result() for task in running) == len(texts)
    return time.perf_counter() - began


def keep_workers(spark: Any) -> None:
    """Gives every worker a task: Spark ends those that were idle for a minute, and their models with them.

    Args:
        spark: The live session.
    """
    spark.range(SLOTS, numPartitions=SLOTS).mapInArrow(lambda batches: batches, "id long").count()


def warm(outcome: Outcome, texts: int = 8000, rounds: int = 1) -> None:
    """Compares the inference step of whole jobs in one warm session with the engine alone, in turns.

    Args:
        outcome: Where figures and checks go.
        texts: Texts of each job.
        rounds: How often each side embeds them.
    """
    from spark_jobs.embed_library import run
    from spark_jobs.runtime.session import get_session

    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    drawn = mixed(texts)
    source = write_texts(folder / "texts.parquet", drawn)
    spark_seconds, engine_seconds = [], []
    with bare_processes() as pools:
        by_engine(pools, drawn[:200])
        for number in range(rounds + 1):
            settings = settings_for(source, str(folder / f"lake{number}"), str(MODEL), "openvino")
            spark = get_session(settings.spark, quiet=True)
            report = run(spark, settings)
            # The first job warms up the session and loads the models.
            if number:
                spark_seconds.append(report.seconds["embed"])
                engine_seconds.append(0.0)
                for part in range(_PARTS):
                    engine_seconds[-1] += by_engine(pools, drawn[part::_PARTS])
                    keep_workers(spark)
                print(f"      round {number}: {spark_seconds[-1]:.1f} s, engine {engine_seconds[-1]:.1f} s", flush=True)
    kept = median(engine_seconds) / median(spark_seconds)
    outcome.measured(texts=len(drawn), spark_seconds=median(spark_seconds), engine_seconds=median(engine_seconds))
    taken = report.inference.values
    outcome.measured(last_forward_seconds_a_slot=taken["forward"] / SLOTS, last_load_seconds=taken["load_seconds"])
    outcome.at_least("inference step in a warm session, of the engine's own rate", kept, 0.95)
    shutil.rmtree(folder)
