"""One whole Spark job in a process of its own: read Parquet, embed, write Delta; prints its seconds as JSON.

Started by `tests/benchmarks/job.py`. The session is up before the clock starts; models are loaded after.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.functions import pandas_udf
from pyspark.sql.types import ArrayType, FloatType

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

CORES = 2
Job = Callable[[SparkSession, str, str, str], None]


def _udf(model: str, batch_size: int, threads: int | None) -> Callable[..., Any]:
    def embed(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        import torch
        from sentence_transformers import SentenceTransformer

        if threads:
            torch.set_num_threads(threads)
        encoder = SentenceTransformer(model, device="cpu")
        for texts in batches:
            yield pd.Series(encoder.encode(texts.tolist(), batch_size=batch_size, show_progress_bar=False).tolist())

    return pandas_udf(embed, returnType=ArrayType(FloatType()))  # type: ignore[call-overload, no-any-return]


def _write(rows: DataFrame, out: str) -> None:
    rows.write.format("delta").save(f"{out}/vectors")


def as_written(spark: SparkSession, model: str, texts: str, out: str) -> None:
    """The pandas UDF of tutorials: `encode` at its defaults, partitions as the file gives them."""
    _write(spark.read.parquet(texts).select("id", _udf(model, 32, None)("text").alias("embedding")), out)


def by_cores(spark: SparkSession, model: str, texts: str, out: str) -> None:
    """The same with as many partitions as cores."""
    rows = spark.read.parquet(texts).repartition(CORES)
    _write(rows.select("id", _udf(model, 32, None)("text").alias("embedding")), out)


def tuned(spark: SparkSession, model: str, texts: str, out: str) -> None:
    """The same with one torch thread a task, and the batch size that is best here."""
    rows = spark.read.parquet(texts).repartition(CORES)
    _write(rows.select("id", _udf(model, 8, 1)("text").alias("embedding")), out)


def predict_batch(spark: SparkSession, model: str, texts: str, out: str) -> None:
    """Spark's own function for inference in batches, as its documentation shows it."""

    def make() -> Callable[[Any], Any]:
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(model, device="cpu")
        return lambda inputs: encoder.encode(inputs.squeeze().tolist(), show_progress_bar=False)

    embed = predict_batch_udf(make, return_type=ArrayType(FloatType()), batch_size=32)
    rows = spark.read.parquet(texts).repartition(CORES)
    _write(rows.select("id", embed(F.col("text")).alias("embedding")), out)


def embedlake(**inference: str) -> Job:
    """Makes the main job of this project with inference settings; everything else is as it comes."""

    def job(spark: SparkSession, model: str, texts: str, out: str) -> None:
        from spark_jobs.embed_library import run
        from spark_jobs.settings import as_settings

        dtype = inference.pop("dtype", "float32")
        values = {
            "library": "bench",
            "store": {"path": out},
            "source": {"format": "parquet", "path": texts, "id_column": "id", "text_columns": ["text"]},
            "chunking": {"method": "none"},
            "model": {"path": model, "dtype": dtype},
            "inference": inference,
        }
        report = run(spark, as_settings(values))
        print(report, file=sys.stderr)

    return job


JOBS: dict[str, Job] = {
    "textbook as written": as_written,
    "textbook by cores": by_cores,
    "textbook tuned": tuned,
    "predict_batch_udf": predict_batch,
    "embedlake": embedlake(),
    "embedlake openvino": embedlake(backend="openvino"),
    "embedlake dtype auto": embedlake(dtype="auto"),
    "embedlake openvino dtype auto": embedlake(backend="openvino", dtype="auto"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=JOBS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    from spark_jobs.session import get_session
    from spark_jobs.settings_sections import SparkSettings

    spark = get_session(SparkSettings(master=f"local[{CORES}]"), quiet=True)
    # Spark itself is warm: the first query of a session costs seconds that belong to none.
    spark.read.parquet(arguments.texts).count()
    began = time.perf_counter()
    JOBS[arguments.name](spark, arguments.model, arguments.texts, arguments.out)
    print(json.dumps({"seconds": time.perf_counter() - began}))
    spark.stop()


if __name__ == "__main__":
    main()
