"""Two spaces beside each other: are the differences of their measures more than chance, and do they find the same?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spark_jobs.evaluation_measures import Scores

CONFIDENCE = 0.95
_RESAMPLES = 10_000
_SEED = 0
# Numbers that are drawn at a time: 32 MB.
_DRAWN = 4_000_000


@dataclass(frozen=True)
class Difference:
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


def paired_differences(first: Scores, second: Scores) -> dict[str, Difference]:
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
        return {name: Difference(float(mean), None, None) for name, mean in zip(first, means, strict=True)}
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
        name: Difference(float(mean), float(low), float(high))
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
