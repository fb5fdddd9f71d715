"""What a run costs beside its inference: a first load, a run with nothing to do, and growth with the library."""

import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs.settings import Settings, as_settings
from tests.benchmarks.own_process import in_own_process
from tests.benchmarks.texts import MODEL, synsets
from tests.validate.outcome import Outcome
from tests.validate.static_model import make_static_model

SLOTS = 2
DOCUMENTS = 20_000
ROUNDS = 3


def embed_once(*where: str) -> dict[str, Any]:
    """Runs the main job in a session that has just come up.

    Args:
        *where: As `settings_for` takes them.

    Returns:
        Seconds of the job, its steps, and what inference took.
    """
    return embed_often(1, *where)[0]


def embed_often(runs: int, *where: str) -> list[dict[str, Any]]:
    """Runs the main job again and again in one session that has just come up.

    Args:
        runs: How often.
        *where: As `settings_for` takes them.

    Returns:
        For each run its seconds, its steps, and what inference took.
    """
    from spark_jobs.embed_library import run
    from spark_jobs.runtime.session import get_session

    settings = settings_for(*where)
    spark = get_session(settings.spark, quiet=True)
    done = []
    for _ in range(runs):
        began = time.perf_counter()
        report = run(spark, settings)
        seconds = time.perf_counter() - began
        done.append({"seconds": seconds, "steps": dict(report.seconds), "inference": dict(report.inference.values)})
    return done


def least_job(source: str, store: str) -> None:
    """Does the least that can tell source and store apart: a count, a join of hashes with the ledger, a commit.

    Args:
        source: File of JSON lines with id and text.
        store: Folder of the store.
    """
    from pyspark.sql import functions as F

    from spark_jobs.runtime.session import get_session

    spark = get_session(small_documents(source, store).spark, quiet=True)
    rows = spark.read.json(source).select(F.col("id").alias("doc_id"), F.sha2("text", 256).alias("hash"))
    rows.count()
    ledger = spark.read.format("delta").load(f"{store}/bench/main/ledger")
    rows.join(ledger, "doc_id", "left").where(F.col("hash") != F.col("text_hash")).count()
    runs = spark.read.format("delta").load(f"{store}/_embedlake/runs")
    runs.limit(1).write.format("delta").save(f"{store}-{time.monotonic_ns()}")


def embed_small(source: str, store: str) -> dict[str, float]:
    """Runs the main job with the fake model in a session that has just come up; returns its seconds by step."""
    from spark_jobs.embed_library import run
    from spark_jobs.runtime.session import get_session

    settings = small_documents(source, store)
    return dict(run(get_session(settings.spark, quiet=True), settings).seconds)


def small_documents(source: str, store: str) -> Settings:
    """Makes the settings of a run over JSON lines with the fake model.

    Args:
        source: File of JSON lines with id and text.
        store: Folder of the store.

    Returns:
        The settings.
    """
    values = {
        "library": "bench",
        "store": {"path": store},
        "source": {"format": "json", "path": source, "id_column": "id", "text_columns": ["text"]},
        "model": {"path": "fake:384"},
        "spark": {"master": "local[2]"},
    }
    return as_settings(values)


def settings_for(source: str, store: str, model: str, backend: str) -> Settings:
    """Makes the settings of a run in float32 that keeps each text whole.

    Args:
        source: Parquet file with id and text.
        store: Folder of the store.
        model: Model folder.
        backend: What runs the model.

    Returns:
        The settings.
    """
    values = {
        "library": "bench",
        "store": {"path": store},
        "source": {"format": "parquet", "path": source, "id_column": "id", "text_columns": ["text"]},
        "chunking": {"method": "none"},
        "model": {"path": model, "dtype": "float32"},
        "inference": {"backend": backend},
        "spark": {"master": "local[2]"},
    }
    return as_settings(values)


def fixed(outcome: Outcome) -> None:
    """Measures whole cold processes in turn: the least that Spark can do, nothing to do, and a first load.

    Args:
        outcome: Where figures and checks go.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    source, store = folder / "texts.jsonl", str(folder / "lake")
    rows = ({"id": f"{n:07}", "text": f"Owl {n} hunts {n % 97} mice in field {n % 1009}."} for n in range(DOCUMENTS))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    in_own_process(embed_small, str(source), store)
    seconds: dict[str, list[float]] = {"floor": [], "nothing to do": [], "first load": []}
    steps: dict[str, dict[str, float]] = {}
    for turn in range(ROUNDS):
        jobs = {
            "floor": (least_job, store),
            "nothing to do": (embed_small, store),
            "first load": (embed_small, f"{store}{turn}"),
        }
        for name, (job, where) in jobs.items():
            began = time.perf_counter()
            steps[name] = in_own_process(job, str(source), where) or {}
            seconds[name].append(time.perf_counter() - began)
    for name, found in seconds.items():
        shown = " · ".join(f"{step} {value:.1f}" for step, value in steps[name].items())
        outcome.measured(**{name: f"median {median(found):.1f} s of {[round(one, 1) for one in found]}; last: {shown}"})
    floor = median(seconds["floor"])
    outcome.at_most("nothing to do, times the floor", median(seconds["nothing to do"]) / floor, 1.15)
    outcome.at_most("first load, times the floor", median(seconds["first load"]) / floor, 1.7)
    shutil.rmtree(folder)


def scale(outcome: Outcome) -> None:
    """Measures how a first load with a static model grows with the library.

    Args:
        outcome: Where figures and checks go.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    model = make_static_model(folder / "static")
    texts = synsets()
    seconds = {}
    for count in (30_000, 60_000, 120_000):
        source = write_texts(folder / f"{count}.parquet", texts[:count])
        done = in_own_process(embed_once, source, str(folder / f"lake{count}"), str(model), "torch")
        seconds[count] = done["seconds"]
        outcome.measured(**{f"{count:,} documents": _shown(done)})
    growth = (seconds[120_000] - seconds[60_000]) / max(seconds[60_000] - seconds[30_000], 1e-9)
    # Twice as many documents more: linear is 2.
    outcome.at_most("seconds from 60,000 to 120,000 by those from 30,000 to 60,000", growth, 2.3)
    shutil.rmtree(folder)


def peak_of(texts: int) -> float:
    """Embeds texts through the skin of the batch job and reads this process's peak of memory.

    Args:
        texts: Texts of one partition.

    Returns:
        Mebibytes.
    """
    from udfs.embed import embed_arrow
    from udfs.inference.meter import peak_mebibytes
    from udfs.models.source import describe_model
    from udfs.specs import InferenceSpec

    found = synsets()
    drawn = (found * (texts // len(found) + 1))[:texts]
    spec = InferenceSpec(model=describe_model(str(MODEL)), device="cpu", dtype="float32", backend="openvino")
    batches = (
        pa.RecordBatch.from_pydict({"text_hash": drawn[start : start + 4096], "text": drawn[start : start + 4096]})
        for start in range(0, texts, 4096)
    )
    for _ in embed_arrow(spec)(batches):
        pass
    return peak_mebibytes("cpu")


def memory(outcome: Outcome) -> None:
    """Measures a worker's memory over a long partition and a short one.

    Args:
        outcome: Where figures and checks go.
    """
    small, large = in_own_process(peak_of, 10_000), in_own_process(peak_of, 100_000)
    outcome.measured(mebibytes_of_10000_texts=small, mebibytes_of_100000_texts=large)
    outcome.at_most("peak of 100,000 texts by that of 10,000", large / small, 1.2)


def write_texts(path: Path, texts: list[str]) -> str:
    """Writes a source.

    Args:
        path: The Parquet file to be.
        texts: Its texts.

    Returns:
        The path.
    """
    pq.write_table(pa.table({"id": [f"{number:07}" for number in range(len(texts))], "text": texts}), path)
    return str(path)


def _shown(done: dict[str, Any]) -> str:
    steps = " · ".join(f"{name} {value:.1f}" for name, value in done["steps"].items())
    return f"{done['seconds']:.1f} s: {steps}"
