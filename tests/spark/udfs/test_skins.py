"""The two Spark wrappers with the real model: vectors equal those of plain sentence-transformers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from schemas.worker_rows import inference_schema
from spark_jobs.runtime.inference import load_on_workers
from spark_jobs.settings.sections import InferenceSettings
from udfs.embed import embed_arrow, embed_udf
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

pytestmark = pytest.mark.spark

TEXTS = ["a", "Bees make honey.", "Owls hunt at night. " * 60, "🦉", "Müller straße 42", "x y " * 200]


@pytest.fixture(scope="module")
def spec(model_folder: Path) -> InferenceSpec:
    return InferenceSpec(model=describe_model(str(model_folder)), dtype="float32", backend="torch", token_budget=512)


@pytest.fixture(scope="module")
def expected(model_folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(model_folder), device="cpu").encode(TEXTS)


def test_embed_udf_works_in_sql_and_keeps_rows_in_order(
    spark: SparkSession, spec: InferenceSpec, expected: np.ndarray
) -> None:
    rows = spark.createDataFrame([*enumerate(TEXTS), (6, None), (7, "  ")], "i int, text string")
    rows.createOrReplaceTempView("texts")
    spark.udf.register("embed", embed_udf(spec))
    found = spark.sql("SELECT i, embed(text) AS embedding FROM texts").orderBy("i").collect()
    assert np.abs(np.array([row.embedding for row in found[:6]]) - expected).max() < 1e-5
    assert [row.embedding for row in found[6:]] == [None, None]


def test_embed_arrow_gives_the_rows_of_inference(
    spark: SparkSession, spec: InferenceSpec, expected: np.ndarray
) -> None:
    rows = spark.createDataFrame([(str(i), text) for i, text in enumerate(TEXTS)], "text_hash string, text string")
    found = rows.repartition(2).mapInArrow(embed_arrow(spec), inference_schema()).orderBy("text_hash").collect()
    assert np.abs(np.array([row.embedding for row in found]) - expected).max() < 1e-5
    assert [row.truncated for row in found] == [False, False, True, False, False, True]
    assert [row.reason for row in found] == [None] * 6


def test_queries_get_the_query_prompt(spark: SparkSession, spec: InferenceSpec, model_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    asking = replace(spec, model=replace(spec.model, query_prompt="query: "), role="query")
    found = spark.createDataFrame([("Who hunts?",)], "text string").select(embed_udf(asking)("text")).collect()[0][0]
    plain = SentenceTransformer(str(model_folder), device="cpu").encode(["Who hunts?"], prompt="query: ")[0]
    assert np.abs(np.array(found) - plain).max() < 1e-5


def test_workers_load_a_model_before_there_is_a_text(spark: SparkSession, spec: InferenceSpec) -> None:
    other = replace(spec, model=replace(spec.model, digest="0" * 64))
    with pytest.raises(PySparkException, match="has digest"):
        load_on_workers(spark, other, InferenceSettings(), tasks=1)
