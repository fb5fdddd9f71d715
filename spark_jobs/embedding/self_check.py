"""The check before a run embeds anything: the model still reproduces the vectors stored in the space."""

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.precision import OutputPrecision
from schemas.vectors import model_text
from spark_jobs.embedding.run import Run
from spark_jobs.runtime.inference import embed_rows
from udfs.quantization import restored
from udfs.specs import InferenceSpec

_TEXTS = 8
# Half precision changes a vector by less; another model, pooling or prompt by far more. In binary, numbers near zero
# change sign.
_LEAST_COSINE: dict[OutputPrecision, float] = {"float32": 0.999, "int8": 0.999, "binary": 0.97}


def check_model(run: Run, vectors: DataFrame) -> None:
    """Embeds a handful of stored texts again and compares their vectors.

    Raises InputError if a vector differs: a package version changed, or the model changed under the same name.
    """
    text = model_text(bool(run.preflight.chunking.context)).alias("text")
    stored = vectors.select("text_hash", text, "embedding").limit(_TEXTS).collect()
    if not stored:
        return
    rows = [(row.text_hash, row.text) for row in stored]
    texts = run.tables.spark.createDataFrame(rows, "text_hash string, text string")
    embedded = {row.text_hash: row.embedding for row in _embedded(texts, run).collect()}
    inference = run.preflight.inference
    cosines = {row.text_hash: _cosine(row.embedding, embedded.get(row.text_hash), inference) for row in stored}
    least = _LEAST_COSINE[inference.model.precision]
    unlike = [cosine for cosine in cosines.values() if not cosine >= least]
    if unlike:
        raise InputError(
            f"the model no longer reproduces the vectors stored in space {run.settings.space}: {len(unlike)} of "
            f"{len(cosines)} texts differ, lowest cosine {min(unlike):.4f}, expected at least {least}. Go back to the "
            "versions in the runs table, or name a new space by the setting `space`."
        )


def _embedded(texts: DataFrame, run: Run) -> DataFrame:
    rows = embed_rows(texts.repartition(1), run.preflight.inference, run.settings.inference)
    return rows.where(F.col("reason").isNull()).select("text_hash", "embedding")


def _cosine(stored: list[float] | None, embedded: list[float] | None, inference: InferenceSpec) -> float:
    if stored is None or embedded is None or len(stored) != len(embedded):
        return -1.0
    # In float32, the products of numbers near its limits would overflow.
    precision, ranges = inference.model.precision, inference.ranges
    a, b = (restored(values, precision, ranges).astype(np.float64) for values in (stored, embedded))
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else -1.0
