"""What a run costs beside its inference: a first load, a run with nothing to do, and growth with the library."""

import shutil
import tempfile
import time
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs.settings import Settings, as_settings
from tests.benchmarks.own_process import in_own_process
from tests.benchmarks.texts import MODEL, mixed, synsets
from tests.validate.outcome import Outcome
from tests.validate.static_model import make_static_model

SLOTS = 2


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


def least_job(source: str, store: str) -> float:
    """Does the least that can tell source and store apart, in a session that has just come up.

    Args:
        source: Parquet file with id and text.
        store: Folder of the store.

    Returns:
        Seconds of a count, a join of hashes with the ledger, and a commit of one row.
    """
    from pyspark.sql import functions as F

    from spark_jobs.runtime.session import get_session

    spark = get_session(settings_for(source, store, str(MODEL), "torch").spark, quiet=True)
    began = time.perf_counter()
    rows = spark.read.parquet(source).select(F.col("id").alias("doc_id"), F.sha2("text", 256).alias("hash"))
    rows.count()
    ledger = spark.read.format("delta").load(f"{store}/bench/main/ledger")
    rows.join(ledger, "doc_id", "left").where(F.col("hash") != F.col("text_hash")).count()
    runs = spark.read.format("delta").load(f"{store}/_embedlake/runs")
    runs.limit(1).write.format("delta").save(f"{store}-least")
    return time.perf_counter() - began


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
    """Measures a first load and runs that find nothing to do, beside the least that Spark can do.

    Args:
        outcome: Where figures and checks go.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    source, store = write_texts(folder / "texts.parquet", mixed(5000)), str(folder / "lake")
    where = (source, store, str(MODEL), "openvino")
    first = in_own_process(embed_once, *where)
    again, *warm = in_own_process(embed_often, 4, *where)
    inference = first["inference"]["forward"] / SLOTS
    outcome.measured(first_load=_shown(first), nothing_to_do=_shown(again), inference_seconds=inference)
    outcome.measured(**{"the same in a session that is warm": _shown(sorted(warm, key=itemgetter("seconds"))[1])})
    outcome.measured(**{"count, join and one commit in a cold session": in_own_process(least_job, source, store)})
    outcome.at_most("first load over its inference, seconds", first["seconds"] - inference, 20)
    outcome.at_most("a run with nothing to do on 5,000 documents, seconds", again["seconds"], 10)
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
