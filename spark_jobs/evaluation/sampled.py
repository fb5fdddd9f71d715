"""What a sample of documents says of retrieval from the whole library; numpy, no Spark."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.evaluation.measures import CONFIDENCE

Numbers = NDArray[np.float64]
Indices = NDArray[np.intp]
# Document ids of each query, best first, without duplicates.
Hits = Mapping[str, Sequence[str]]

_RESAMPLES = 300
_OVERLAP_RESAMPLES = 2_000
# Shape and rate of a prior in which a third of the relevant documents are not outranked, and some by hundreds. The pull
# towards it decides only where hardly a sampled document outranks anything.
_USUAL = np.log([0.2, 0.01])
_PULL = 0.05
_BOUNDS = ((-8.0, 4.0), (-9.0, 5.0))


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval.

    Attributes:
        value: The value.
        low: Lower end of the interval; None if there is too little to tell.
        high: Upper end of the interval, or None.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SampledDifference:
    """How much better the candidate retrieves than the baseline, each from the whole library.

    Attributes:
        difference: Candidate minus baseline.
        baseline: The baseline's mean over the queries, measured in the whole library.
        baseline_estimated: The same as estimated from the sample: how far estimates are to be trusted.
        in_sample: Means of baseline and candidate among the sampled documents alone, where ranking is easier.
    """

    difference: Estimate
    baseline: float
    baseline_estimated: float
    in_sample: tuple[float, float]


@dataclass(frozen=True)
class _Outranked:
    """Relevant documents of all queries, and the documents that a space ranks above each.

    Attributes:
        queries: (pairs,) index of the query.
        gains: (pairs,) share of the query's highest possible sum of discounted gains, before the discount.
        certain: (pairs,) documents above it that are in the sample for certain.
        drawn: (pairs,) documents above it that were drawn.
        is_beyond: (pairs,) whether it is below every hit, so that more documents are above it than were counted.
        pairs_above: (above,) index of the pair, for each drawn document above one.
        drawn_above: (above,) number of that document.
    """

    queries: Indices
    gains: Numbers
    certain: Numbers
    drawn: Numbers
    is_beyond: NDArray[np.bool_]
    pairs_above: Indices
    drawn_above: Indices


@dataclass(frozen=True)
class _Sides:
    """Both spaces in the sample, and the baseline in the whole library."""

    candidate: _Outranked
    baseline: _Outranked
    whole: _Outranked

    def estimated(self, fraction: float, weights: Numbers, copies: Numbers, k: int) -> tuple[Numbers, Numbers]:
        """Estimates nDCG@k of each query in the whole library, of candidate and baseline.

        Args:
            fraction: Share of the library's other documents that was drawn.
            weights: (queries,) how often each query counts.
            copies: (documents,) how often each drawn document counts.
            k: Cutoff.

        Returns:
            (queries,) of each.
        """
        shape = self._shape(weights) if fraction < 1 else 1.0
        values = []
        for side in (self.candidate, self.baseline):
            drawn = _summed(side.pairs_above, copies[side.drawn_above], len(side.queries))
            # Of what was searched whole, nothing is to be estimated.
            prior = _fitted(drawn, side, fraction, weights[side.queries], shape) if fraction < 1 else (shape, 1.0)
            discounted = _values(side, drawn, fraction, prior, k)
            values.append(_summed(side.queries, discounted, len(weights)))
        return values[0], values[1]

    def _shape(self, weights: Numbers) -> float:
        return _fitted(self.whole.drawn, self.whole, 1.0, weights[self.whole.queries])[0]


def _summed(places: Indices, values: Numbers, number: int) -> Numbers:
    return np.bincount(places, values, number).astype(np.float64)


def draw_queries(judged: JudgedQueries, most: int, seed: int) -> JudgedQueries:
    """Draws as many queries as have at most so many relevant documents together.

    Args:
        judged: The queries and their judgments.
        most: Maximum number of relevant documents.
        seed: Decides the order in which queries are taken.

    Returns:
        The drawn queries in their order.

    Raises:
        InputError: The first query has more relevant documents.
    """
    documents: set[str] = set()
    drawn = set()
    for query in sorted(judged.queries, key=lambda query: hashlib.sha256(f"{seed} {query}".encode()).digest()):
        documents |= relevant_documents(judged.grades[query])
        if len(documents) > most:
            break
        drawn.add(query)
    if not drawn:
        raise InputError(
            f"a query has {len(documents):,} relevant documents, and at most half of the sample are such. Choose a "
            f"--sample of {2 * len(documents):,} or more."
        )
    return replace(
        judged,
        queries={query: text for query, text in judged.queries.items() if query in drawn},
        grades={query: grades for query, grades in judged.grades.items() if query in drawn},
    )


def relevant_to_any(judged: JudgedQueries) -> set[str]:
    """Returns the ids of the documents that are relevant to one of the queries."""
    return {document for grades in judged.grades.values() for document in relevant_documents(grades)}


def relevant_documents(grades: Mapping[str, int]) -> set[str]:
    """Returns the ids of the documents with a grade above 0."""
    return {document for document, grade in grades.items() if grade > 0}


def mean_interval(values: Sequence[float], seed: int) -> Estimate:
    """Estimates a mean: a percentile bootstrap over the values, which are drawn with replacement 2,000 times."""
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < 2:
        return Estimate(float(numbers.mean()), None, None)
    generator = np.random.default_rng(seed)
    size = (len(numbers),)
    means = [numbers[generator.integers(0, len(numbers), size)].mean() for _ in range(_OVERLAP_RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(numbers.mean()), float(low), float(high))


def estimate_difference(
    judged: JudgedQueries,
    certain: Collection[str],
    fraction: float,
    baseline: Hits,
    candidate: Hits,
    whole: Hits,
    k: int,
    seed: int,
) -> SampledDifference:
    """Estimates by how much nDCG@k of a candidate exceeds a baseline's, if each were searched as a whole library.

    What is estimated is the mean over queries like the given ones, of which these are a sample.

    Both spaces rank the same documents: the relevant ones of the queries, which are certain to be among them, and
    others drawn at random. Among fewer documents each rank is better, so a difference in the sample is not that of the
    library. The discount of a relevant document depends on how many documents outrank it. Of those that are certain to
    be in the sample the number is known. Of the others only a fraction was drawn: if `b` of the drawn ones outrank it,
    the number of those that were not drawn is random, and the discount is replaced by its expectation.

    The number of all that outrank a document is Poisson, with a mean that differs from document to document by a gamma
    distribution. So `b` is negative binomial, and so is, given `b`, the number of those that were not drawn: the answer
    of empirical Bayes to how many species were not seen (B. Efron and R. Thisted, Biometrika 63, 1976, 435-447). The
    baseline was searched whole, which tells the shape of the gamma distribution; the rate of each space is the one
    under which its `b` are most likely.

    The baseline is estimated in the same way although its value is known, because what the model gets wrong is mostly
    wrong for both and cancels out. Its known value tells how wrong: what the estimate misses it by, beyond its own
    sampling error, widens the interval.

    The interval is a normal one, with Student's quantile. Its variance comes from a bootstrap that draws queries and
    documents independently (A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007, 386-411). Of
    the documents only a part of the variation counts, because they were drawn without replacement (J. N. K. Rao and C.
    F. J. Wu, Journal of the American Statistical Association 83, 1988, 231-241).

    Args:
        judged: The queries and their judgments.
        certain: Ids of the sampled documents that were not drawn; the relevant ones, as far as the library has them.
        fraction: Share of the library's other documents that was drawn, above 0; 1 if the sample is the library.
        baseline: What the baseline retrieves from the sample: k documents or, better, ten times as many.
        candidate: What the candidate retrieves from the sample.
        whole: What the baseline retrieves from the whole library, as many documents.
        k: Cutoff of nDCG.
        seed: Decides the draws of the bootstrap.

    Returns:
        The difference, without an interval if there is one query only, and what it is made of.
    """
    numbers: dict[str, int] = {}
    sides = _Sides(*(_outranked(judged, set(certain), hits, k, numbers) for hits in (candidate, baseline, whole)))
    known = known_values(judged, whole, k)
    ours, theirs = sides.estimated(fraction, np.ones(len(known)), np.ones(len(numbers)), k)
    value, missed = float((ours - theirs).mean()), float((theirs - known).mean())
    in_sample = known_values(judged, baseline, k).mean(), known_values(judged, candidate, k).mean()
    estimate = Estimate(value, None, None)
    if len(known) > 1:
        draws = _bootstrap(sides, known, len(numbers), fraction, k, seed)
        variance, variance_missed = draws.var(axis=0)
        half = student_quantile(len(known), CONFIDENCE) * float(
            np.sqrt(variance + max(0.0, missed**2 - variance_missed))
        )
        estimate = Estimate(value, value - half, value + half)
    return SampledDifference(
        difference=estimate,
        baseline=float(known.mean()),
        baseline_estimated=float(theirs.mean()),
        in_sample=(float(in_sample[0]), float(in_sample[1])),
    )


def _bootstrap(sides: _Sides, known: Numbers, documents: int, fraction: float, k: int, seed: int) -> Numbers:
    """Draws queries and documents; returns (resamples, 2): the difference, and what the baseline's estimate misses."""
    generator = np.random.default_rng(seed)
    queries = len(known)
    draws = np.empty((_RESAMPLES, 2))
    for draw in draws:
        weights = np.bincount(generator.integers(0, queries, queries), minlength=queries).astype(np.float64)
        # Variation without replacement: nothing varies if everything was drawn.
        copies = 1 + np.sqrt(1 - fraction) * (generator.poisson(1.0, documents) - 1)
        ours, theirs = sides.estimated(fraction, weights, copies, k)
        draw[:] = weights @ (ours - theirs) / queries, weights @ (theirs - known) / queries
    return draws


def _values(side: _Outranked, drawn: Numbers, fraction: float, prior: tuple[float, float], k: int) -> Numbers:
    """Estimates nDCG@k in the whole library, query by query of the pairs."""
    discounts = np.zeros(len(side.queries))
    reached = ~side.is_beyond
    ranks = 1 + (side.certain + drawn)[reached]
    if fraction >= 1:
        discounts[reached] = _discount(ranks, k)
    else:
        chances = _unseen(drawn[reached], *prior, fraction, k)
        discounts[reached] = (chances * _discount(ranks[:, None] + np.arange(k), k)).sum(axis=1)
    return side.gains * discounts


def _fitted(
    drawn: Numbers, side: _Outranked, fraction: float, weights: Numbers, shape: float | None = None
) -> tuple[float, float]:
    """Finds the gamma distribution under which the counts of outranking documents are most likely: shape and rate."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]  # importing takes half a second
    from scipy.special import betainc, gammaln  # type: ignore[import-untyped]

    exact, at_least = drawn[~side.is_beyond], np.maximum(drawn[side.is_beyond], 1e-9)
    exact_weights, beyond_weights = weights[~side.is_beyond], weights[side.is_beyond]
    free = slice(0 if shape is None else 1, 2)

    def loss(logs: Numbers) -> float:
        one, rate = np.exp(logs) if shape is None else (shape, np.exp(logs[0]))
        likely = gammaln(exact + one) - gammaln(one) - gammaln(exact + 1)
        likely += one * np.log(rate / (rate + fraction)) + exact * np.log(fraction / (rate + fraction))
        total = exact_weights @ likely
        if len(at_least):
            total += beyond_weights @ np.log(betainc(at_least, one, fraction / (rate + fraction)) + 1e-300)
        return float((_PULL * ((logs - _USUAL[free]) ** 2).sum() - total) / max(1.0, weights.sum()))

    found = np.exp(minimize(loss, _USUAL[free], method="L-BFGS-B", bounds=_BOUNDS[free]).x)
    return (float(found[0]), float(found[1])) if shape is None else (shape, float(found[0]))


def _unseen(drawn: Numbers, shape: float, rate: float, fraction: float, most: int) -> Numbers:
    """Returns (pairs, most): the chance that 0, 1, ... documents that were not drawn outrank a pair's document."""
    from scipy.special import gammaln

    shapes, numbers = (shape + drawn)[:, None], np.arange(most)
    chance = (rate + fraction) / (rate + 1)
    logs = gammaln(numbers + shapes) - gammaln(shapes) - gammaln(numbers + 1)
    return np.asarray(np.exp(logs + shapes * np.log(chance) + numbers * np.log1p(-chance)))


def _outranked(judged: JudgedQueries, certain: set[str], hits: Hits, k: int, numbers: dict[str, int]) -> _Outranked:
    """Finds what outranks each relevant document; `numbers` receives a number for each drawn document."""
    pairs: list[tuple[int, float, int, int, bool]] = []
    pairs_above: list[int] = []
    drawn_above: list[int] = []
    most = max((len(documents) for documents in hits.values()), default=0)
    for index, (query, grades) in enumerate(judged.grades.items()):
        found = hits[query]
        places = {document: place for place, document in enumerate(found)}
        ideal = ideal_gain(grades, k)
        for document in sorted(relevant_documents(grades) & certain):
            place = places.get(document)
            if place is None and len(found) < most:
                # Every document that the space has is a hit, so it does not have this one.
                continue
            drawn = [above for above in found[:place] if above not in certain]
            pairs_above += [len(pairs)] * len(drawn)
            drawn_above += [numbers.setdefault(above, len(numbers)) for above in drawn]
            certain_above = len(found[:place]) - len(drawn)
            pairs.append((index, grades[document] / ideal, certain_above, len(drawn), place is None))
    columns = np.array(pairs, dtype=np.float64).reshape(-1, 5).T
    return _Outranked(
        queries=columns[0].astype(np.intp),
        gains=columns[1],
        certain=columns[2],
        drawn=columns[3],
        is_beyond=columns[4].astype(np.bool_),
        pairs_above=np.array(pairs_above, dtype=np.intp),
        drawn_above=np.array(drawn_above, dtype=np.intp),
    )


def known_values(judged: JudgedQueries, hits: Hits, k: int) -> Numbers:
    """Computes nDCG@k of each query, 0 for a query without a relevant document."""
    values = np.zeros(len(judged.grades))
    for index, (query, grades) in enumerate(judged.grades.items()):
        gains = np.array([grades.get(document, 0) for document in hits[query][:k]], dtype=np.float64)
        ideal = ideal_gain(grades, k)
        values[index] = gains @ _discount(np.arange(1.0, len(gains) + 1), k) / ideal if ideal else 0.0
    return values


def ideal_gain(grades: Mapping[str, int], k: int) -> float:
    """Returns the sum of discounted gains if the relevant documents came first."""
    best = np.array(sorted(grades.values(), reverse=True)[:k], dtype=np.float64)
    return float(best @ _discount(np.arange(1.0, len(best) + 1), k))


def _discount(ranks: Numbers, k: int) -> Numbers:
    return np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0)


def student_quantile(number: int, confidence: float) -> float:
    """Returns how many standard errors an interval from so many independent values reaches to each side."""
    from scipy.special import stdtrit

    return float(stdtrit(number - 1, (1 + confidence) / 2))
