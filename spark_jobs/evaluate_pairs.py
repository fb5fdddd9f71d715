"""The evaluation of a model by pairs of sentences: does what people find alike lie close together?

Needs no library: both sentences are embedded as documents are, with the document prompt, for neither asks the other,
and compared by the cosine of their embeddings in float32, whatever a space stores.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from schemas.errors import InputError
from spark_jobs import store
from spark_jobs.evaluation_cosines import pair_cosines
from spark_jobs.evaluation_records import ensure_evaluations, record_evaluation
from spark_jobs.evaluation_sentences import ScoredPairs, read_pairs
from spark_jobs.preflight import inference_spec
from spark_jobs.settings import Settings
from udfs.fingerprint import model_fingerprint


@dataclass(frozen=True)
class PairScores:
    """How a model's cosines go with people's scores.

    Attributes:
        path: The file of pairs.
        model: The model, as the settings name it.
        model_fingerprint: Hash of everything that decides a vector.
        pairs: Pairs that were compared.
        left_out: Pairs with a sentence that the model cannot embed.
        truncated: Sentences of which the model saw only the beginning.
        spearman: Correlation of the ranks.
        pearson: Correlation of the values.
    """

    path: str
    model: str
    model_fingerprint: str
    pairs: int
    left_out: int
    truncated: int
    spearman: float
    pearson: float

    def __str__(self) -> str:
        """Renders the scores in plain text."""
        return "\n".join(f"{label:<11}{text}" for label, text in self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the scores as pairs.

        Returns:
            Label and text of each line.
        """
        pairs = f"{self.pairs:,} compared"
        if self.left_out:
            pairs += f" · {self.left_out:,} left out: the model cannot embed a sentence of theirs"
        if self.truncated:
            pairs += f" · the model saw only the beginning of {self.truncated:,} sentences"
        return [
            ("model", self.model),
            ("pairs", pairs),
            ("Spearman", f"{self.spearman:.5f}"),
            ("Pearson", f"{self.pearson:.5f}"),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns the scores as JSON takes them."""
        return {
            "pairs": self.path,
            "model": self.model,
            "model_fingerprint": self.model_fingerprint,
            "compared_pairs": self.pairs,
            "left_out_pairs": self.left_out,
            "truncated_sentences": self.truncated,
            "measures": {"Spearman": self.spearman, "Pearson": self.pearson},
        }


def run(spark: SparkSession, settings: Settings, path: Path) -> PairScores:
    """Correlates the cosines of sentence pairs with the scores that people gave them, and records the result.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration; its source is not read.
        path: The file of pairs, as `evaluation_sentences.read_pairs` takes it.

    Returns:
        The correlations, ready to be printed.

    Raises:
        InputError: The file or the model cannot be used, the store cannot be written, or there is nothing to correlate.
    """
    pairs = read_pairs(path)
    inference = inference_spec(settings)
    inference = replace(inference, model=replace(inference.model, precision="float32"))
    with store.delta_session(spark):
        ensure_evaluations(spark, settings)
        cosines, truncated = pair_cosines(spark, settings, inference, pairs)
        spearman, pearson = correlations(pairs, cosines)
        compared = int(np.isfinite(cosines).sum())
        found = PairScores(
            path=str(path),
            model=settings.model.path,
            model_fingerprint=model_fingerprint(inference.model),
            pairs=compared,
            left_out=len(cosines) - compared,
            truncated=truncated,
            spearman=spearman,
            pearson=pearson,
        )
        record_evaluation(spark, settings, _rows(settings, found, pairs))
    return found


def correlations(pairs: ScoredPairs, cosines: NDArray[np.float64]) -> tuple[float, float]:
    """Correlates the cosines of pairs with their scores.

    Args:
        pairs: The pairs.
        cosines: (pairs,) float64, NaN where a pair could not be embedded.

    Returns:
        Spearman's correlation, of the ranks, and Pearson's, of the values.

    Raises:
        InputError: All cosines, or all scores of the pairs that were embedded, are the same.
    """
    from scipy.stats import pearsonr, spearmanr  # type: ignore[import-untyped]  # costs half a second

    is_good = np.isfinite(cosines)
    found, wanted = cosines[is_good], np.asarray(pairs.scores)[is_good]
    if len(set(found)) < 2 or len(set(wanted)) < 2:
        raise InputError(
            f"the {len(found):,} of {len(cosines):,} pairs of {pairs.file.path} that could be embedded have one score, "
            "or all the same cosine: check the file and the model"
        )
    return float(spearmanr(wanted, found).statistic), float(pearsonr(wanted, found).statistic)


def _rows(settings: Settings, found: PairScores, pairs: ScoredPairs) -> list[dict[str, Any]]:
    common = {
        "space": settings.space,
        "model_fingerprint": found.model_fingerprint,
        "queries": pairs.file.path.name,
        "queries_hash": pairs.file.sha256,
        "query_count": found.pairs,
    }
    values = (("Spearman", found.spearman), ("Pearson", found.pearson))
    return [{**common, "measure": measure, "value": value} for measure, value in values]
