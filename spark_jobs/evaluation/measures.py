"""Measures of retrieval, query by query; the formulas are those of ir-measures."""

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
# Numbers that are drawn at a time: 32 MB.
_DRAWN = 4_000_000


def search_depth(k: int) -> int:
    """Chooses how many documents are searched for: measures look at no more of them.

    Args:
        k: Cutoff that the user asks for.

    Returns:
        Documents of each query.
    """
    return max(_DEEP_CUTOFF, k)


def require_measures() -> Any:
    """Finds the library of measures, before anything is searched.

    Returns:
        The module `ir_measures`.

    Raises:
        InputError: It is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise InputError("evaluation needs ir-measures: pip install 'embedlake[evaluate]'") from error
    return ir_measures


def score_queries(judged: JudgedQueries, found: Mapping[str, Sequence[str]], k: int = _USUAL_CUTOFF) -> Scores:
    """Measures what was found for each query.

    Every measure names its cutoff, as ir-measures writes it: nDCG and RR (whose mean is MRR) at 10 and k, R (recall)
    and AP (whose mean is MAP) at 10, k and 100. A query for which nothing was found has 0.

    Args:
        judged: The queries and their judgements.
        found: Document ids of each query, best first; each once.
        k: Cutoff that the user asks for.

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
    # Ranks in place of scores: each formula would put documents of one score into an order of its own.
    run = [
        ir.ScoredDoc(query, document, -float(rank))
        for query, documents in found.items()
        for rank, document in enumerate(documents, start=1)
    ]
    places = {query: place for place, query in enumerate(judged.queries)}
    scores = {str(measure): np.zeros(len(places)) for measure in measures}
    for metric in ir.iter_calc(measures, qrels, run):
        scores[str(metric.measure)][places[metric.query_id]] = metric.value
    return scores


@dataclass(frozen=True)
class MeasureDifference:
    """How far two means lie apart.

    Attributes:
        value: The first mean less the second.
        low: Lower end of its interval; None where one query gives none.
        high: Upper end.
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
    """Compares two spaces by the same queries.

    The interval is a percentile bootstrap: queries are drawn with replacement 10,000 times, the same ones for both
    spaces and for all measures. The draws are the same in every evaluation.

    Args:
        first: (queries,) float64 of each measure, by its name.
        second: Likewise, of the other space, with the same measures and queries.

    Returns:
        The differences by measure.
    """
    from scipy.stats import bootstrap  # type: ignore[import-untyped]  # costs half a second

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
    """Counts the documents that two spaces have in common among the nearest k of each query.

    Args:
        first: Document ids of each query, best first.
        second: Likewise, of the other space, for the same queries.
        k: How many are looked at.

    Returns:
        Mean share over the queries, from 0 to 1; where there are fewer than k, of the longer list.

    Example:
        >>> neighbour_overlap({"q": ["a", "b", "c"]}, {"q": ["b", "d", "a"]}, 2)
        0.5
    """
    shares = []
    for query, documents in first.items():
        ours, theirs = set(documents[:k]), set(second[query][:k])
        shares.append(len(ours & theirs) / max(len(ours), len(theirs), 1))
    return float(np.mean(shares))
