"""Measures of retrieval for each query, computed by ir-measures, and how two spaces compare on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.evaluation.judgements import JudgedQueries

# Value of each measure for each query, in the order of the judged queries.
Scores = dict[str, NDArray[np.float64]]
_USUAL_CUTOFF = 10
_DEEP_CUTOFF = 100

CONFIDENCE = 0.95
_RESAMPLES = 10_000
_SEED = 0
# Numbers drawn at a time: 32 MB.
_DRAWN = 4_000_000


def search_depth(k: int) -> int:
    """Returns how many documents to retrieve for each query; measures with cutoff `k` look no further."""
    return max(_DEEP_CUTOFF, k)


def require_measures() -> Any:
    """Returns the module `ir_measures`; raises InputError if it is not installed."""
    try:
        import ir_measures
    except ImportError as error:
        raise InputError(
            "evaluation needs ir-measures, which is not installed. Run pip install 'embedlake[evaluate]'."
        ) from error
    return ir_measures


def score_queries(judged: JudgedQueries, retrieved: Mapping[str, Sequence[str]], k: int = _USUAL_CUTOFF) -> Scores:
    """Scores what was retrieved for each query.

    Every measure names its cutoff, as ir-measures writes it: nDCG and RR (its mean is MRR) at 10 and k, R (recall) and
    AP (its mean is MAP) at 10, k and 100. A query without retrieved documents scores 0.

    Args:
        judged: The queries and their judgments.
        retrieved: Document ids of each query, best first, without duplicates.
        k: A cutoff in addition to the usual ones.

    Returns:
        (queries,) float64 of each measure, by its name.

    Raises:
        InputError: ir-measures is not installed.
    """
    ir = require_measures()
    short, long = sorted({_USUAL_CUTOFF, k}), sorted({_USUAL_CUTOFF, k, _DEEP_CUTOFF})
    kinds = ((ir.nDCG, short), (ir.R, long), (ir.AP, long), (ir.RR, short))
    measures = [kind @ cutoff for kind, cutoffs in kinds for cutoff in cutoffs]
    qrels = [
        ir.Qrel(query, document, grade) for query, grades in judged.grades.items() for document, grade in grades.items()
    ]
    # Ranks instead of scores, because each formula would order documents with equal scores differently.
    run = [
        ir.ScoredDoc(query, document, -float(rank))
        for query, documents in retrieved.items()
        for rank, document in enumerate(documents, start=1)
    ]
    indices = {query: index for index, query in enumerate(judged.queries)}
    scores = {str(measure): np.zeros(len(indices)) for measure in measures}
    for metric in ir.iter_calc(measures, qrels, run):
        scores[str(metric.measure)][indices[metric.query_id]] = metric.value
    return scores


@dataclass(frozen=True)
class MeasureDifference:
    """The difference of two means, with its confidence interval.

    Attributes:
        value: The first mean minus the second.
        low: Lower end of the interval; None if there is only one query.
        high: Upper end of the interval, or None.
    """

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Renders the difference on one line."""
        if self.low is None or self.high is None:
            return f"{self.value:+.5f}"
        return f"{self.value:+.5f} ({CONFIDENCE:.0%} interval {self.low:+.5f} to {self.high:+.5f})"


def paired_differences(first: Scores, second: Scores) -> dict[str, MeasureDifference]:
    """Compares two spaces on the same queries.

    The interval is a percentile bootstrap: queries are drawn with replacement 10,000 times, the same ones for both
    spaces, for all measures and in every evaluation.

    Args:
        first: (queries,) float64 for each measure, by its name.
        second: Likewise for the other space, with the same measures and queries.

    Returns:
        The differences by measure.
    """
    from scipy.stats import bootstrap  # type: ignore[import-untyped]  # importing takes half a second

    differences = np.array([values - second[name] for name, values in first.items()])
    means = differences.mean(axis=1)
    if differences.shape[1] < 2:
        return {name: MeasureDifference(float(mean), None, None) for name, mean in zip(first, means, strict=True)}
    interval = bootstrap(
        (differences,),
        np.mean,
        axis=1,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=max(1, _DRAWN // differences.size),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=_SEED,
    ).confidence_interval
    return {
        name: MeasureDifference(float(mean), float(low), float(high))
        for name, mean, low, high in zip(first, means, interval.low, interval.high, strict=True)
    }


def neighbour_overlap(first: Mapping[str, Sequence[str]], second: Mapping[str, Sequence[str]], k: int) -> float:
    """Returns the share of the nearest k documents that two spaces have in common.

    Args:
        first: Document ids of each query, best first.
        second: Likewise for the other space and the same queries.
        k: Number of documents to compare.

    Returns:
        Mean over the queries, from 0 to 1; for lists shorter than k, the share of the longer one.

    Example:
        >>> neighbour_overlap({"q": ["a", "b", "c"]}, {"q": ["b", "d", "a"]}, 2)
        0.5
    """
    return float(np.mean(overlaps(first, second, k)))


def overlaps(first: Mapping[str, Sequence[str]], second: Mapping[str, Sequence[str]], k: int) -> list[float]:
    """Returns what `neighbour_overlap` averages, for each query in the order of the first space."""
    shares = []
    for query, documents in first.items():
        nearest, other_nearest = set(documents[:k]), set(second[query][:k])
        shares.append(len(nearest & other_nearest) / max(len(nearest), len(other_nearest), 1))
    return shares
