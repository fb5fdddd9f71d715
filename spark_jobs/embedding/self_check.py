"""The check before a run embeds anything: the model still makes the vectors that the space holds."""

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.precision import OutputPrecision
from spark_jobs.embedding.run import Run
from spark_jobs.runtime.inference import embed_rows
from udfs.quantization import restored
from udfs.specs import InferenceSpec

_TEXTS = 8
# Half precision moves a vector by less; another model, pooling or prompt by far more. Of bits, those of numbers near
# zero turn over.
_LEAST_COSINE: dict[OutputPrecision, float] = {"float32": 0.999, "int8": 0.999, "binary": 0.97}


def check_model(spark: SparkSession, run: Run) -> None:
    """Embeds a handful of stored texts again and compares.

    Args:
        spark: The live session.
        run: The run.

    Raises:
        InputError: A vector differs: another library version, or another model under the same name.
    """
    vectors = run.tables.read("vectors")
    # Counted from Delta's log: no file is read where there is none to read.
    if not vectors.count():
        return
    stored = vectors.select("text_hash", "text", "embedding").limit(_TEXTS).collect()
    texts = spark.createDataFrame([(row.text_hash, row.text) for row in stored], "text_hash string, text string")
    made = {row.text_hash: row.embedding for row in _embedded(texts, run).collect()}
    inference = run.checked.inference
    cosines = {row.text_hash: _cosine(row.embedding, made.get(row.text_hash), inference) for row in stored}
    least = _LEAST_COSINE[inference.model.precision]
    unlike = {text_hash: cosine for text_hash, cosine in cosines.items() if not cosine >= least}
    if unlike:
        worst = min(unlike.values())
        raise InputError(
            f"the model makes other vectors than space {run.settings.space} holds: {len(unlike)} of {len(cosines)} "
            f"texts differ, lowest cosine {worst:.4f}, expected at least {least}: go back to the versions that "
            "the runs table names, or name a new space by the setting `space`"
        )


def _embedded(texts: DataFrame, run: Run) -> DataFrame:
    rows = embed_rows(texts.repartition(1), run.checked.inference, run.settings.inference)
    return rows.where(F.col("reason").isNull()).select("text_hash", "embedding")


def _cosine(stored: list[float] | None, made: list[float] | None, inference: InferenceSpec) -> float:
    if stored is None or made is None or len(stored) != len(made):
        return -1.0
    # Numbers near the ends of float32 would overflow in it.
    a, b = (
        restored(values, inference.model.precision, inference.ranges).astype(np.float64) for values in (stored, made)
    )
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else -1.0
