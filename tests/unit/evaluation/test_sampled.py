"""Estimates from a sample: exact where the sample is everything, and intervals that hold the truth where it is not."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import InputError
from spark_jobs.evaluation import sampled
from spark_jobs.evaluation.cost import build_cost, estimate_tokens
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.evaluation.measures import overlaps
from spark_jobs.evaluation.sampled import (
    Estimate,
    SampledDifference,
    draw_queries,
    estimate_difference,
    mean_interval,
    relevant_to_any,
)
from spark_jobs.search.text_files import TextFile
from spark_jobs.settings.sections import CostSettings

Grades = dict[str, dict[str, int]]
Scores = NDArray[np.float64]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "_RESAMPLES", 40)


def judged_of(grades: Grades) -> JudgedQueries:
    file = TextFile(Path("test.tsv"), "", [], [])
    return JudgedQueries({query: f"What of {query}?" for query in grades}, grades, 0, file, file)


# nDCG


def test_a_sample_of_everything_gives_the_difference_itself() -> None:
    judged = judged_of({"q": {"a": 2, "b": 1, "gone": 1}, "r": {"c": 1}, "none": {"a": 0}})
    baseline = {"q": ["x", "a", "y", "b"], "r": ["c", "x"], "none": ["a"]}
    candidate = {"q": ["a", "b", "x", "y"], "r": ["x", "y", "c"], "none": ["x"]}
    found = estimate_difference(judged, {"a", "b", "c"}, 1.0, baseline, candidate, baseline, 10, 0)
    ideal = 2 + 1 / math.log2(3) + 1 / 2
    before = [(2 / math.log2(3) + 1 / math.log2(5)) / ideal, 1.0, 0.0]
    after = [(2 + 1 / math.log2(3)) / ideal, 1 / 2, 0.0]
    assert found.baseline == found.baseline_estimated == pytest.approx(np.mean(before))
    assert found.difference.value == pytest.approx(np.mean(after) - np.mean(before))
    assert found.in_sample == (pytest.approx(np.mean(before)), pytest.approx(np.mean(after)))
    assert found.difference.low < found.difference.value < found.difference.high


def test_documents_below_the_cutoff_count_nothing() -> None:
    judged = judged_of({"q": {"a": 1}, "r": {"b": 1}})
    baseline = {"q": ["x", "y", "a"], "r": ["b"]}
    found = estimate_difference(judged, {"a", "b"}, 1.0, baseline, {"q": ["a"], "r": ["x"]}, baseline, 2, 0)
    assert (found.baseline, found.difference.value) == (0.5, 0.0)


def test_one_query_has_a_difference_and_no_interval() -> None:
    judged, hits = judged_of({"q": {"a": 1}}), {"q": ["a", "x"]}
    found = estimate_difference(judged, {"a"}, 0.5, hits, {"q": ["x", "a"]}, hits, 10, 0)
    assert found.difference.value < 0
    assert (found.difference.low, found.difference.high) == (None, None)


def test_a_document_that_a_space_does_not_have_is_not_retrieved() -> None:
    judged = judged_of({"q": {"a": 1}, "r": {"b": 1}})
    both = {"q": ["a", "x"], "r": ["b", "x"]}
    found = estimate_difference(judged, {"a", "b"}, 1.0, both, {"q": ["x"], "r": ["b", "x"]}, both, 10, 0)
    assert found.difference.value == -0.5


def test_the_same_seed_gives_the_same_interval() -> None:
    once, again, other = (_estimated(_library(1), 100, 1, seed=seed) for seed in (5, 5, 6))
    assert once == again
    assert once.difference.value == other.difference.value and once.difference.low != other.difference.low


# A simulated library: in each query's ranking, related documents crowd around the relevant ones.


def _library(seed: int, queries: int = 60, documents: int = 1_500) -> tuple[Scores, Scores, list[int]]:
    """Scores of the baseline and of a better candidate, and the relevant document of each query."""
    draw = np.random.default_rng(seed)
    related = 0.6 * draw.standard_exponential((queries, documents))
    relevant = draw.choice(documents, queries, replace=False)
    related[np.arange(queries), relevant] += 5 * draw.uniform(0.6, 1.6, queries)
    shared, *own = draw.standard_normal((3, queries, documents))
    baseline, candidate = (
        related + noise * (0.7 * shared + 0.71 * alone) for noise, alone in zip((1.0, 0.6), own, strict=True)
    )
    return baseline, candidate, [int(one) for one in relevant]


def _hits(scores: Scores, documents: NDArray[np.intp]) -> dict[str, list[str]]:
    best = documents[np.argsort(-scores[:, documents], axis=1)[:, :100]]
    return {f"q{query}": [f"d{document}" for document in row] for query, row in enumerate(best)}


def _estimated(
    library: tuple[Scores, Scores, list[int]], drawn: int, draw_seed: int, seed: int = 0
) -> SampledDifference:
    baseline, candidate, relevant = library
    everything = np.arange(baseline.shape[1])
    others = np.setdiff1d(everything, relevant)
    chosen = np.random.default_rng(draw_seed).choice(others, drawn, replace=False)
    documents = np.concatenate([np.array(relevant), chosen])
    judged = judged_of({f"q{query}": {f"d{document}": 1} for query, document in enumerate(relevant)})
    rankings = (_hits(baseline, documents), _hits(candidate, documents), _hits(baseline, everything))
    certain = {f"d{document}" for document in relevant}
    return estimate_difference(judged, certain, drawn / len(others), *rankings, 10, seed)


def _truth(library: tuple[Scores, Scores, list[int]]) -> float:
    means = []
    for scores in library[:2]:
        own = scores[np.arange(len(scores)), library[2]]
        ranks = 1 + (scores > own[:, None]).sum(axis=1)
        means.append(np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean())
    return float(means[1] - means[0])


@pytest.mark.parametrize(("drawn", "useful"), [(500, 10), (150, 5)])
def test_intervals_hold_the_difference_of_queries_like_these(drawn: int, useful: int) -> None:
    libraries = [_library(seed) for seed in range(20)]
    truths = [_truth(library) for library in libraries]
    expected = float(np.mean(truths))
    found = [_estimated(library, drawn, seed) for seed, library in enumerate(libraries)]
    held = [one.difference.low <= expected <= one.difference.high for one in found]
    held_of_these = [
        one.difference.low <= truth <= one.difference.high for one, truth in zip(found, truths, strict=True)
    ]
    assert sum(held) >= 18 and sum(held_of_these) >= 19
    # They are of use: with few queries, many of them say that the candidate is better, the more the larger the sample.
    assert sum(one.difference.low > 0 for one in found) > useful
    assert not any(one.difference.high < 0 for one in found)


def test_what_is_missed_of_the_baseline_widens_the_interval() -> None:
    library = _library(3)
    found = _estimated(library, 200, 3)
    baseline, candidate, relevant = library
    # A library in which the baseline retrieves nothing, whatever its sample says.
    judged = judged_of({f"q{query}": {f"d{document}": 1} for query, document in enumerate(relevant)})
    documents = np.arange(300)
    rankings = (_hits(baseline, documents), _hits(candidate, documents))
    nothing = {query: [f"x{place}" for place in range(100)] for query in judged.queries}
    certain = {f"d{document}" for document in relevant if document < 300}
    wide = estimate_difference(judged, certain, 0.9, *rankings, nothing, 10, 0)
    narrow = estimate_difference(judged, certain, 0.9, *rankings, rankings[0], 10, 0)
    assert found.difference.low is not None
    missed = wide.baseline_estimated - wide.baseline
    assert missed > 0.05
    assert wide.difference.high - wide.difference.low > narrow.difference.high - narrow.difference.low + missed


# Queries, overlap


def test_queries_are_drawn_until_their_documents_fill_half_of_the_sample() -> None:
    judged = judged_of({f"q{n}": {f"d{n}": 1, f"e{n}": 2, "zero": 0} for n in range(10)})
    drawn = draw_queries(judged, 8, seed=1)
    assert len(drawn.queries) == 4 and list(drawn.queries) == list(drawn.grades)
    assert len(relevant_to_any(drawn)) == 8 and "zero" not in relevant_to_any(drawn)
    assert set(drawn.queries) == set(draw_queries(judged, 8, seed=1).queries)
    assert {frozenset(draw_queries(judged, 8, seed).queries) for seed in range(9)} != {frozenset(drawn.queries)}
    assert draw_queries(judged, 20, seed=1) == replace(judged)


def test_a_query_with_too_many_relevant_documents_asks_for_a_larger_sample() -> None:
    with pytest.raises(InputError, match=r"a query has 3 relevant documents.* Choose a --sample of 6 or more\."):
        draw_queries(judged_of({"q": {"a": 1, "b": 1, "c": 1}}), 2, 0)


def test_overlaps_are_shares_of_each_query() -> None:
    first, second = {"q": ["a", "b", "c"], "r": ["a"], "s": []}, {"q": ["b", "d", "a"], "r": ["b"], "s": []}
    assert overlaps(first, second, 2) == [0.5, 0.0, 0.0]


def test_the_interval_of_a_mean_is_that_of_a_bootstrap() -> None:
    values = np.random.default_rng(2).uniform(size=400)
    found, half = mean_interval(list(values), 1), 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == (
        pytest.approx(values.mean() - half, abs=0.15 * half),
        pytest.approx(values.mean() + half, abs=0.15 * half),
    )
    assert mean_interval([0.25], 1) == Estimate(0.25, None, None)


# Tokens, hours, price


def test_tokens_of_a_library_follow_from_its_characters() -> None:
    characters = {"a": 100, "b": 200, "c": 300}
    found = estimate_tokens(characters, {"a": 25, "b": 50, "c": 75}, (), 30, 10_000)
    # A quarter of the characters in each document: nothing is uncertain.
    assert (found.value, found.low, found.high) == (2500, pytest.approx(2500), pytest.approx(2500))


def test_documents_that_had_to_be_in_the_sample_stand_for_themselves_alone() -> None:
    characters, tokens = {"sure": 1000, "a": 100, "b": 100}, {"sure": 1000, "a": 20, "b": 30}
    found = estimate_tokens(characters, tokens, {"sure"}, 10, 2000)
    # 1,000 + 5 * 50 tokens of 1,000 + 5 * 200 characters.
    assert found.value == pytest.approx(1250)
    assert found.low < 1250 < found.high


def test_token_intervals_hold_the_truth() -> None:
    draw = np.random.default_rng(4)
    lengths = draw.integers(50, 3000, 5_000)
    counts = (lengths / draw.normal(4, 0.5, 5_000)).astype(int) + 2
    held = 0
    for _ in range(100):
        chosen = draw.choice(5_000, 100, replace=False)
        characters = {str(n): int(lengths[n]) for n in chosen}
        found = estimate_tokens(characters, {str(n): int(counts[n]) for n in chosen}, (), 5_000, int(lengths.sum()))
        held += found.low <= counts.sum() <= found.high
        assert found.high - found.low < 0.1 * found.value
    assert held >= 89


def test_a_sample_of_everything_leaves_no_doubt_about_tokens() -> None:
    found = estimate_tokens({"a": 100, "b": 50}, {"a": 20, "b": 30}, (), 2, 150)
    assert (found.value, found.low, found.high) == (50, 50, 50)
    assert estimate_tokens({"a": 100}, {"a": 20}, {"a"}, 0, 100) == Estimate(20, 20, 20)
    assert estimate_tokens({"a": 100}, {"a": 20}, (), 9, 900) == Estimate(180, None, None)
    assert estimate_tokens({"a": 0}, {}, (), 9, 0).value == 0


def test_hours_and_price_follow_from_the_rate() -> None:
    cost = CostSettings(per_hour=3.2, currency="EUR")
    found = build_cost(1_000, Estimate(7_200_000, 3_600_000, 10_800_000), 900, 9.0, 4, cost)
    assert (found.tokens_per_second, found.slots, found.currency) == (100, 4, "EUR")
    assert found.hours == Estimate(20, pytest.approx(10), pytest.approx(30))
    assert found.price == Estimate(64, pytest.approx(32), pytest.approx(96))
    assert build_cost(1_000, Estimate(7, None, None), 900, 9.0, 4, CostSettings()).price is None
    nothing = build_cost(0, Estimate(0, 0, 0), 0, 9.0, 4, cost)
    assert (nothing.tokens_per_second, nothing.hours, nothing.price) == (0, None, None)
