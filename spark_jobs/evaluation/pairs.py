"""The evaluation of a model by sentence pairs: do its cosines agree with the scores that people gave?

It needs no library. Both sentences are embedded with the document prompt, because neither is a query for the other, and
compared by the cosine of their float32 embeddings, whatever precision a space has.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from spark_jobs.evaluation.report import ensure_evaluations, record_evaluation
from spark_jobs.runtime.inference import embed_rows
from spark_jobs.runtime.parallelism import partition_count, task_slots
from spark_jobs.runtime.report import render_lines
from spark_jobs.search.text_files import TextFile, csv_records, first_faults, read_text
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.specs import inference_spec
from spark_jobs.store.tables import delta_session
from udfs.models.fingerprint import model_fingerprint
from udfs.specs import InferenceSpec
from udfs.texts import is_blank

_CHARACTERS_PER_TOKEN = 4
_NAMES = ("sentence1", "sentence2", "score")
_FORMAT = "Write sentence1, sentence2 and score."


@dataclass(frozen=True)
class PairScores:
    """How a model's cosines correlate with people's scores.

    Attributes:
        path: The file of pairs.
        model: The model, as the settings name it; of MLflow's registry, the version.
        model_fingerprint: Hash of everything that decides a vector.
        pairs: Number of compared pairs.
        left_out: Number of pairs with a sentence that the model cannot embed.
        truncated: Number of sentences that are longer than the model's limit; only their beginning counted.
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
        return render_lines(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the scores as pairs of label and text."""
        pairs = f"{self.pairs:,} compared"
        if self.left_out:
            pairs += f" · {self.left_out:,} left out because the model cannot embed one of their sentences"
        if self.truncated:
            pairs += f" · the model saw only the beginning of {self.truncated:,} sentences"
        return [
            ("model", self.model),
            ("pairs", pairs),
            ("Spearman", f"{self.spearman:.5f}"),
            ("Pearson", f"{self.pearson:.5f}"),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns the scores for JSON."""
        return {
            "pairs": self.path,
            "model": self.model,
            "model_fingerprint": self.model_fingerprint,
            "compared_pairs": self.pairs,
            "left_out_pairs": self.left_out,
            "truncated_sentences": self.truncated,
            "measures": {"Spearman": self.spearman, "Pearson": self.pearson},
        }


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of sentences, each with the score that people gave it.

    Attributes:
        sentences: The two sentences of each pair.
        scores: Score of each pair, on any scale; higher means more alike.
        file: The file of pairs.
    """

    sentences: Sequence[tuple[str, str]]
    scores: Sequence[float]
    file: TextFile


def run(spark: SparkSession, settings: Settings, path: Path) -> PairScores:
    """Correlates the cosines of sentence pairs with the scores that people gave them, and records the result.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration; its source is not read.
        path: The file of pairs; see `read_pairs`.

    Returns:
        The correlations; print them.

    Raises:
        InputError: The file or the model cannot be used, the store cannot be written, or there is nothing to correlate.
    """
    pairs = read_pairs(path)
    inference = inference_spec(settings)
    inference = replace(inference, model=replace(inference.model, precision="float32"))
    with delta_session(spark):
        ensure_evaluations(spark, settings)
        cosines, truncated = pair_cosines(spark, settings, inference, pairs)
        spearman, pearson = correlations(pairs, cosines)
        compared = int(np.isfinite(cosines).sum())
        scores = PairScores(
            path=str(path),
            model=inference.model.path,
            model_fingerprint=model_fingerprint(inference.model),
            pairs=compared,
            left_out=len(cosines) - compared,
            truncated=truncated,
            spearman=spearman,
            pearson=pearson,
        )
        record_evaluation(spark, settings, _rows(settings, scores, pairs))
    return scores


def _rows(settings: Settings, scores: PairScores, pairs: ScoredPairs) -> list[dict[str, Any]]:
    common = {
        "space": settings.space,
        "model_fingerprint": scores.model_fingerprint,
        "queries": pairs.file.path.name,
        "queries_hash": pairs.file.sha256,
        "query_count": scores.pairs,
    }
    values = (("Spearman", scores.spearman), ("Pearson", scores.pearson))
    return [{**common, "measure": measure, "value": value} for measure, value in values]


def read_pairs(path: Path) -> ScoredPairs:
    """Reads pairs of sentences.

    Args:
        path: Values separated by tabs if the name ends in `.tsv`, else by commas. A header must name sentence1,
            sentence2 and score; other columns are ignored. Without a header, these are the three columns. In a file
            with tabs, quotation marks are plain characters.

    Returns:
        Two or more pairs.

    Raises:
        InputError: The file cannot be read, or lines are wrong; the first ten are named by number.
    """
    file = read_text(path, "pairs")
    records, faults = csv_records(file)
    names = [field.strip().lower() for field in records[0][1]] if records else []
    if set(_NAMES) & set(names):
        number, records = records[0][0], records[1:]
        missing = [name for name in _NAMES if name not in names]
        if missing:
            faults.append((number, f"names no column {' and no column '.join(missing)}. {_FORMAT}"))
            records = []
    else:
        names = list(_NAMES)
    sentences, scores = [], []
    for number, fields in records:
        try:
            first, second, score = _pair(fields, names)
        except ValueError as error:
            faults.append((number, str(error)))
        else:
            sentences.append((first, second))
            scores.append(score)
    if faults:
        raise InputError(first_faults(path, faults))
    if len(set(scores)) < 2:
        raise InputError(
            f"the pairs file {path} has fewer than two different scores, so nothing can correlate with "
            "them. Name another file."
        )
    return ScoredPairs(sentences, scores, file)


def _pair(fields: Sequence[str], names: Sequence[str]) -> tuple[str, str, float]:
    if len(fields) != len(names):
        raise ValueError(f"has {len(fields)} columns instead of {len(names)}. {_FORMAT}")
    first, second, score = (fields[names.index(name)] for name in _NAMES)
    if is_blank(first) or is_blank(second):
        raise ValueError("has an empty sentence. Write both sentences, or remove the line.")
    try:
        value = float(score)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        # Not repeated: in a file with other columns it is a sentence.
        raise ValueError(f"the score is not a number. {_FORMAT}")
    return first, second, value


def pair_cosines(
    spark: SparkSession, settings: Settings, inference: InferenceSpec, pairs: ScoredPairs
) -> tuple[NDArray[np.float64], int]:
    """Embeds every sentence once, on the executors, and compares the sentences of each pair.

    Args:
        spark: A live session.
        settings: The whole configuration.
        inference: The model, with float32 as precision, and how it runs.
        pairs: The pairs.

    Returns:
        (pairs,) float64 cosines, NaN if the model cannot embed a sentence; and the number of sentences that are
        longer than the model's limit.
    """
    texts = list(dict.fromkeys(sentence for pair in pairs.sentences for sentence in pair))
    # As many rows as the file has sentences, regardless of the library's size; one chunk for each column.
    embedded: pa.Table = _embedded(spark, settings, inference, texts).toArrow().combine_chunks()
    matrix = np.full((len(texts), inference.model.dimension), np.nan)
    if embedded.num_rows:
        embeddings: Any = embedded["embedding"].chunk(0)
        matrix[embedded["index"].to_numpy()] = embeddings.flatten().to_numpy().reshape(embedded.num_rows, -1)
    truncated: list[Any] = embedded["truncated"].to_pylist()
    indices = {text: index for index, text in enumerate(texts)}
    first, second = (matrix[[indices[pair[side]] for pair in pairs.sentences]] for side in (0, 1))
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.einsum("ij,ij->i", first, second) / norms, sum(truncated)


def _embedded(spark: SparkSession, settings: Settings, inference: InferenceSpec, texts: Sequence[str]) -> DataFrame:
    tokens = sum(map(len, texts)) // _CHARACTERS_PER_TOKEN
    # Indices instead of hashes, because the rows come back in a different order.
    rows = spark.createDataFrame(
        [(str(index), text) for index, text in enumerate(texts)], "text_hash string, text string"
    )
    rows = rows.repartition(partition_count(tokens, task_slots(spark)), "text_hash")
    embedded = embed_rows(rows, inference, settings.inference).where(F.col("reason").isNull())
    return embedded.select(F.col("text_hash").cast("long").alias("index"), "truncated", "embedding")


def correlations(pairs: ScoredPairs, cosines: NDArray[np.float64]) -> tuple[float, float]:
    """Correlates the cosines of pairs with their scores.

    Args:
        pairs: The pairs.
        cosines: (pairs,) float64, NaN if a pair could not be embedded.

    Returns:
        Spearman's correlation of the ranks, and Pearson's of the values.

    Raises:
        InputError: All cosines, or all scores of the pairs that were embedded, are the same.
    """
    from scipy.stats import pearsonr, spearmanr  # type: ignore[import-untyped]  # importing takes half a second

    is_embedded = np.isfinite(cosines)
    kept, scores = cosines[is_embedded], np.asarray(pairs.scores)[is_embedded]
    if len(set(kept)) < 2 or len(set(scores)) < 2:
        raise InputError(
            f"the {len(kept):,} of {len(cosines):,} pairs of {pairs.file.path} that could be embedded all have the "
            "same score or the same cosine. Check the file and the model."
        )
    return float(spearmanr(scores, kept).statistic), float(pearsonr(scores, kept).statistic)
