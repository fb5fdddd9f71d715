"""How near the two sentences of each pair lie to each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.inference import inference_schema
from spark_jobs.evaluation_sentences import ScoredPairs
from spark_jobs.planning import partition_count
from spark_jobs.resources import inference_profile
from spark_jobs.session import task_slots
from spark_jobs.settings import Settings
from udfs.embed import embed_arrow
from udfs.specs import InferenceSpec

_CHARACTERS_A_TOKEN = 4


def pair_cosines(
    spark: SparkSession, settings: Settings, inference: InferenceSpec, pairs: ScoredPairs
) -> tuple[NDArray[np.float64], int]:
    """Embeds every sentence once, on the executors, and compares the sentences of each pair.

    Args:
        spark: The live session.
        settings: The whole configuration.
        inference: The model, with float32 as precision, and how it runs.
        pairs: The pairs.

    Returns:
        (pairs,) float64 cosines, NaN where the model cannot embed a sentence; and the number of sentences of which the
        model saw only the beginning.
    """
    texts = list(dict.fromkeys(sentence for pair in pairs.sentences for sentence in pair))
    # As many rows as the file has sentences, whatever the size of the library; in one piece.
    made: pa.Table = _embedded(spark, settings, inference, texts).toArrow().combine_chunks()
    matrix = np.full((len(texts), inference.model.dimension), np.nan)
    if made.num_rows:
        embeddings: Any = made["embedding"].chunk(0)
        matrix[made["place"].to_numpy()] = embeddings.flatten().to_numpy().reshape(made.num_rows, -1)
    truncated: list[Any] = made["truncated"].to_pylist()
    places = {text: place for place, text in enumerate(texts)}
    first, second = (matrix[[places[pair[side]] for pair in pairs.sentences]] for side in (0, 1))
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.einsum("ij,ij->i", first, second) / norms, sum(truncated)


def _embedded(spark: SparkSession, settings: Settings, inference: InferenceSpec, texts: Sequence[str]) -> DataFrame:
    tokens = sum(map(len, texts)) // _CHARACTERS_A_TOKEN
    # Places in place of hashes: what comes back is in another order.
    rows = spark.createDataFrame(
        [(str(place), text) for place, text in enumerate(texts)], "text_hash string, text string"
    )
    return (
        rows.repartition(partition_count(tokens, task_slots(spark)), "text_hash")
        .mapInArrow(embed_arrow(inference), inference_schema(), profile=inference_profile(spark, settings.inference))
        .where(F.col("reason").isNull())
        .select(F.col("text_hash").cast("long").alias("place"), "truncated", "embedding")
    )
