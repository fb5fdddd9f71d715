"""One whole Spark job in a process of its own: read Parquet, embed, write Delta; prints its seconds as JSON.

Started by `tests/benchmarks/job.py`, each peer by the Python of its own environment, so that everything of a contender
is imported by the contender. The session is up and warm before the clock starts unless `--cold` is given; models are
loaded after.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from delta import configure_spark_with_delta_pip
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.functions import pandas_udf
from pyspark.sql.types import ArrayType, FloatType

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

CORES = 2
# What the model sees of a text; peers that do not read it from the model's own files are told.
MAX_TOKENS = 256
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
    """The same with one torch thread a task, and batches of 8, the best size of 4 to 64 on two cores."""
    rows = spark.read.parquet(texts).repartition(CORES)
    _write(rows.select("id", _udf(model, 8, 1)("text").alias("embedding")), out)


def predict_batch(spark: SparkSession, model: str, texts: str, out: str) -> None:
    """Spark's own function for inference in batches, as its documentation shows it, with partitions = cores."""

    def make() -> Callable[[Any], Any]:
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(model, device="cpu")
        return lambda inputs: encoder.encode(inputs.squeeze().tolist(), show_progress_bar=False)

    embed = predict_batch_udf(make, return_type=ArrayType(FloatType()), batch_size=32)
    rows = spark.read.parquet(texts).repartition(CORES)
    _write(rows.select("id", embed(F.col("text")).alias("embedding")), out)


def distribatch(spark: SparkSession, model: str, texts: str, out: str) -> None:
    """distribatch's EmbedJob on Spark: passes of 8 rows, its default; partitions = cores, one torch thread each."""
    import distribatch as dib

    wanted = dib.EmbedJob(model=dib.models.path(model), engine="transformers", text="{text}", normalize=True)
    made = wanted.run(spark.read.parquet(texts), backend="spark", output_col="embedding", partitions=CORES)
    _write(made.select("id", "embedding"), out)


def spark_infer_ai(spark: SparkSession, model: str, texts: str, out: str) -> None:
    """spark-infer-ai's embedding column, batch size chosen by itself, partitions = cores; it does not normalise."""
    from spark_ai import AI
    from spark_ai.config import AIConfig

    config = AIConfig(embedding_model_name=model, max_length=MAX_TOKENS, auto_tune_batch_size=True, batch_size=0)
    rows = spark.read.parquet(texts).repartition(CORES)
    _write(rows.select("id", AI(config).embed("text").alias("embedding")), out)


def embedlake(dtype: str, **inference: str) -> Job:
    """Makes the main job of this project; everything but these settings is as it comes."""

    def job(spark: SparkSession, model: str, texts: str, out: str) -> None:
        from spark_jobs.embed_library import run
        from spark_jobs.settings import as_settings

        values = {
            "library": "bench",
            "store": {"path": out},
            "source": {"format": "parquet", "path": texts, "id_column": "id", "text_columns": ["text"]},
            "chunking": {"method": "none"},
            "model": {"path": model, "dtype": dtype},
            "inference": inference,
        }
        print(run(spark, as_settings(values)), file=sys.stderr)

    return job


JOBS: dict[str, Job] = {
    "textbook as written": as_written,
    "textbook by cores": by_cores,
    "textbook tuned": tuned,
    "predict_batch_udf": predict_batch,
    "distribatch": distribatch,
    "spark-infer-ai": spark_infer_ai,
    "embedlake": embedlake("float32", backend="torch"),
    "embedlake openvino": embedlake("float32", backend="openvino"),
    "embedlake dtype auto": embedlake("auto", backend="torch"),
    "embedlake openvino dtype auto": embedlake("auto", backend="openvino"),
}


def session() -> SparkSession:
    """Starts Delta's session as its documentation shows it, with the properties of `conf/spark-local.conf`.

    Returns:
        The session, the same for every contender.
    """
    # Otherwise workers are whatever `python3` is on the PATH.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = configure_spark_with_delta_pip(SparkSession.builder.master(f"local[{CORES}]"))
    for line in (ROOT / "conf" / "spark-local.conf").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(" ")
        if key.startswith("spark.") and key != "spark.jars.packages":
            builder = builder.config(key, value.strip())
    return builder.getOrCreate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=JOBS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--cold", action="store_true", help="let the clock begin in a session that has run nothing")
    arguments = parser.parse_args()
    spark = session()
    if not arguments.cold:
        _warm_up(spark, arguments.texts)
    began = time.perf_counter()
    JOBS[arguments.name](spark, arguments.model, arguments.texts, arguments.out)
    print(json.dumps({"seconds": time.perf_counter() - began}))
    spark.stop()


def _warm_up(spark: SparkSession, texts: str) -> None:
    # Spark, Delta and its Python workers are warm: the first query of a session costs seconds that belong to none.
    first = spark.read.parquet(texts).limit(10).mapInArrow(lambda batches: batches, "id string, text string")
    with tempfile.TemporaryDirectory(prefix="bench-warm-") as folder:
        first.write.format("delta").save(f"{folder}/warm")


if __name__ == "__main__":
    main()
