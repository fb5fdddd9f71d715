"""Retrieval measures checked against their textbook formulas, and the comparison of two spaces."""

import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import InputError
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.evaluation.measures import Scores, neighbour_overlap, paired_differences, score_queries, search_depth
from spark_jobs.evaluation.report import Comparison, Evaluation, SpaceScores, rows_of
from spark_jobs.search.text_files import TextFile

Grades = dict[str, dict[str, int]]


def judged_of(grades: Grades) -> JudgedQueries:
    texts = {query: f"What of {query}?" for query in grades}
    queries, judgements = (TextFile(Path("data", name), name * 4, [], []) for name in ("queries.jsonl", "test.tsv"))
    return JudgedQueries(texts, grades, 0, queries, judgements)


def needs_measures() -> None:
    pytest.importorskip("ir_measures", reason="ir-measures is an optional dependency")


def ndcg(grades: Mapping[str, int], found: Sequence[str], k: int) -> float:
    def gain(values: Sequence[int]) -> float:
        return sum(value / math.log2(rank + 1) for rank, value in enumerate(values[:k], start=1))

    best = gain(sorted(grades.values(), reverse=True))
    return gain([grades.get(document, 0) for document in found]) / best if best else 0.0


def recall(grades: Mapping[str, int], found: Sequence[str], k: int) -> float:
    relevant = {document for document, grade in grades.items() if grade}
    return len(relevant & set(found[:k])) / len(relevant) if relevant else 0.0


def precision_mean(grades: Mapping[str, int], found: Sequence[str], k: int) -> float:
    hits = [rank for rank, document in enumerate(found[:k], start=1) if grades.get(document)]
    relevant = sum(map(bool, grades.values()))
    return sum(number / rank for number, rank in enumerate(hits, start=1)) / relevant if relevant else 0.0


def reciprocal(grades: Mapping[str, int], found: Sequence[str], k: int) -> float:
    return next((1 / rank for rank, document in enumerate(found[:k], start=1) if grades.get(document)), 0.0)


FORMULAS = {"nDCG": ndcg, "R": recall, "AP": precision_mean, "RR": reciprocal}


@pytest.mark.parametrize(
    ("k", "names"),
    [
        (10, "nDCG@10 R@10 R@100 AP@10 AP@100 RR@10"),
        (3, "nDCG@3 nDCG@10 R@3 R@10 R@100 AP@3 AP@10 AP@100 RR@3 RR@10"),
        (100, "nDCG@10 nDCG@100 R@10 R@100 AP@10 AP@100 RR@10 RR@100"),
        (200, "nDCG@10 nDCG@200 R@10 R@100 R@200 AP@10 AP@100 AP@200 RR@10 RR@200"),
    ],
)
def test_every_measure_of_random_rankings_matches_its_formula(k: int, names: str) -> None:
    needs_measures()
    draw = random.Random(k)
    documents = [f"d{number}" for number in range(400)]
    grades = {f"q{n}": {d: draw.choice([0, 1, 1, 2, 3]) for d in draw.sample(documents, 12)} for n in range(30)}
    found = {query: draw.sample(documents, search_depth(k)) for query in grades}
    scores = score_queries(judged_of(grades), found, k)
    assert list(scores) == names.split()
    for name, values in scores.items():
        kind, _, cutoff = name.partition("@")
        expected = [FORMULAS[kind](grades[query], found[query], int(cutoff)) for query in grades]
        assert values == pytest.approx(expected, abs=1e-9), name


def test_measures_of_one_ranking_match_values_computed_by_hand() -> None:
    needs_measures()
    grades = {"q": {"a": 3, "b": 1, "c": 0, "absent": 1}}
    scores = score_queries(judged_of(grades), {"q": ["x", "a", "c", "b"]})
    best = 3 + 1 / math.log2(3) + 1 / 2
    assert scores["nDCG@10"] == pytest.approx([(3 / math.log2(3) + 1 / math.log2(5)) / best])
    assert scores["R@10"] == pytest.approx([2 / 3])
    assert scores["AP@10"] == pytest.approx([(1 / 2 + 2 / 4) / 3])
    assert scores["RR@10"] == pytest.approx([1 / 2])


def test_queries_without_hits_or_relevant_documents_count_as_0() -> None:
    needs_measures()
    judged = judged_of({"none": {"a": 1}, "hopeless": {"a": 0}, "good": {"a": 1}})
    scores = score_queries(judged, {"none": [], "hopeless": ["a", "b"], "good": ["a"]})
    assert {name: list(values) for name, values in scores.items()} == {name: [0.0, 0.0, 1.0] for name in scores}
    assert judged.hopeless == 1


def test_measures_are_0_when_nothing_is_found() -> None:
    needs_measures()
    scores = score_queries(judged_of({"q": {"a": 1}, "r": {"b": 1}}), {"q": [], "r": []})
    assert all(list(values) == [0.0, 0.0] for values in scores.values())


def test_documents_keep_the_order_in_which_they_were_found() -> None:
    needs_measures()
    # Formulas that sort by score put documents of equal scores into an order of their own, by id up or down.
    for order in (["a", "b"], ["b", "a"]):
        scores = score_queries(judged_of({"q": {"a": 1}}), {"q": order})
        assert scores["RR@10"] == scores["AP@10"] == [1 / (1 + order.index("a"))]


def test_ids_may_be_any_text() -> None:
    needs_measures()
    documents = ["a b", "ä\u2028", "🦉", "-1", "1", "01", " 1"]
    grades = {"q 1": {"🦉": 1, "01": 1}, "1": {" 1": 1}}
    scores = score_queries(judged_of(grades), {query: documents for query in grades})
    assert list(scores["RR@10"]) == pytest.approx([1 / 3, 1 / 7])
    assert list(scores["R@10"]) == [1, 1]


@pytest.mark.parametrize(("k", "depth"), [(1, 100), (10, 100), (100, 100), (101, 101), (1000, 1000)])
def test_the_search_depth_is_a_hundred_documents_or_more_if_asked(k: int, depth: int) -> None:
    assert search_depth(k) == depth


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(
        InputError,
        match=r"evaluation needs ir-measures, which is not installed\. Run pip install 'embedlake\[evaluate\]'\.",
    ):
        score_queries(judged_of({"q": {"a": 1}}), {"q": ["a"]})


# Two spaces


def test_the_interval_matches_a_bootstrap_over_queries() -> None:
    draw = np.random.default_rng(7)
    first, noise = draw.uniform(0.4, 0.9, 400), draw.normal(0.02, 0.1, 400)
    found = paired_differences({"a": first, "b": first}, {"a": first - noise, "b": first})
    # For a mean of many values the bootstrap comes near the normal interval.
    half = 1.96 * noise.std() / np.sqrt(len(noise))
    assert found["a"].value == pytest.approx(noise.mean())
    assert found["a"].low == pytest.approx(noise.mean() - half, abs=0.15 * half)
    assert found["a"].high == pytest.approx(noise.mean() + half, abs=0.15 * half)
    assert (found["b"].value, found["b"].low, found["b"].high) == (0, 0, 0)
    # Drawn by an own loop.
    places = np.random.default_rng(1).integers(0, 400, (10_000, 400))
    low, high = np.quantile(noise[places].mean(axis=1), [0.025, 0.975])
    assert (found["a"].low, found["a"].high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


def test_queries_are_paired_so_that_easy_and_hard_ones_cancel_out() -> None:
    first = np.linspace(0.0, 1.0, 50)
    found = paired_differences({"a": first}, {"a": first - 0.125})["a"]
    assert (found.low, found.high) == (pytest.approx(0.125), pytest.approx(0.125))
    assert str(found) == "+0.12500 (95% interval +0.12500 to +0.12500)"


def test_intervals_are_reproducible_and_all_measures_use_the_same_draws() -> None:
    draw = np.random.default_rng(3)
    first, second = draw.uniform(size=20), draw.uniform(size=20)
    once = paired_differences({"a": first, "b": 2 * first}, {"a": second, "b": 2 * second})
    again = paired_differences({"a": first, "b": 2 * first}, {"a": second, "b": 2 * second})
    assert once == again
    assert (once["b"].low, once["b"].high) == (pytest.approx(2 * once["a"].low), pytest.approx(2 * once["a"].high))
    turned = paired_differences({"a": second}, {"a": first})["a"]
    assert turned.value == pytest.approx(-once["a"].value)


def test_one_query_has_a_difference_and_no_interval() -> None:
    (found,) = paired_differences({"a": np.array([0.5])}, {"a": np.array([0.75])}).values()
    assert (found.value, found.low, found.high) == (-0.25, None, None)
    assert str(found) == "-0.25000"


def test_many_queries_are_drawn_in_bounded_memory() -> None:
    draw = np.random.default_rng(5)
    values = {name: draw.uniform(size=(2, 3000)) for name in "abcdef"}
    first, second = ({name: rows[side] for name, rows in values.items()} for side in (0, 1))
    found = paired_differences(first, second)
    assert all(difference.low < difference.value < difference.high for difference in found.values())


@pytest.mark.parametrize(
    ("first", "second", "k", "expected"),
    [
        ({"q": ["a", "b", "c"]}, {"q": ["c", "b", "a"]}, 3, 1.0),
        ({"q": ["a", "b", "c"]}, {"q": ["c", "b", "a"]}, 2, 0.5),
        ({"q": ["a", "b", "c"]}, {"q": ["c", "b", "a"]}, 1, 0.0),
        ({"q": ["a", "b"]}, {"q": ["a"]}, 10, 0.5),
        ({"q": ["a"], "r": ["b"]}, {"r": ["b"], "q": ["x"]}, 1, 0.5),
        ({"q": ["a"]}, {"q": []}, 5, 0.0),
    ],
)
def test_overlap_is_the_share_of_documents_that_both_find(
    first: dict[str, list[str]], second: dict[str, list[str]], k: int, expected: float
) -> None:
    assert neighbour_overlap(first, second, k) == pytest.approx(expected)


# What is shown and recorded


def space_scores(name: str, scores: Scores, missing: int = 0) -> SpaceScores:
    return SpaceScores(f"toy.{name}", name[0] * 64, 3, 0, missing, scores)


def evaluation(with_other: bool) -> Evaluation:
    ours, theirs = {"nDCG@10": np.array([1.0, 0.5])}, {"nDCG@10": np.array([0.5, 0.5])}
    judged = judged_of({"q1": {"a": 1}, "q2": {"b": 0}})
    scores, other = space_scores("main", ours, missing=2), space_scores("small", theirs)
    comparison = Comparison(other, paired_differences(ours, theirs), 0.75) if with_other else None
    return Evaluation(judged, 10, 100, scores, comparison)


def test_the_report_of_one_space_is_as_expected() -> None:
    assert str(evaluation(with_other=False)).splitlines() == [
        "space      toy.main · model mmmmmmmmmmmm · vectors at version 3 · 2 judged documents are missing",
        "queries    2 with judgements · 1 without a relevant document, which score 0",
        "documents  2 judged · 100 found for each query, by their best chunk",
        "nDCG@10    0.75000",
    ]


def test_the_report_of_two_spaces_is_as_expected() -> None:
    lines = str(evaluation(with_other=True)).splitlines()
    assert lines[1] == "against    toy.small · model ssssssssssss · vectors at version 3"
    assert lines[-2].startswith("nDCG@10    0.75000 · against 0.50000 · +0.25000 (95% interval +0.00000 to +0.50000)")
    assert lines[-1] == "overlap@10 0.75000 of the nearest 10 documents are the same"


def test_json_has_means_and_single_queries() -> None:
    found = evaluation(with_other=True).as_dict()
    assert found["space"] == "toy.main" and found["measures"] == {"nDCG@10": 0.75} and found["missing_documents"] == 2
    assert found["per_query"] == {"q1": {"nDCG@10": 1.0}, "q2": {"nDCG@10": 0.5}}
    against = found["against"]
    assert (against["space"], against["measures"], against["overlap@10"]) == ("toy.small", {"nDCG@10": 0.5}, 0.75)
    assert against["differences"] == {"nDCG@10": {"value": 0.25, "low": 0.0, "high": 0.5}}
    assert "against" not in evaluation(with_other=False).as_dict()


@pytest.mark.parametrize(("keeps", "word", "noted"), [(False, "left out", "2 left out"), (True, "counted", "counted")])
def test_what_became_of_queries_own_documents_is_shown_and_recorded(keeps: bool, word: str, noted: str) -> None:
    plain = evaluation(with_other=False)
    found = replace(plain, scores=replace(plain.scores, own_documents=0 if keeps else 2), keep_identical_ids=keeps)
    assert ("2 queries' own documents were left out" in str(found)) is not keeps
    assert ("by their best chunk · a query's own document counts" in str(found)) is keeps
    assert (found.as_dict()["identical_ids"], found.as_dict()["own_documents_left_out"]) == (word, 0 if keeps else 2)
    assert rows_of(found)[0]["versions"] == {"identical_ids": noted}


def test_rows_name_spaces_measures_and_differences() -> None:
    (alone,) = rows_of(evaluation(with_other=False))
    assert (alone["space"], alone["measure"], alone["value"], alone["query_count"]) == ("main", "nDCG@10", 0.75, 2)
    assert (alone["queries"], alone["judgements"], alone["missing_documents"]) == ("queries.jsonl", "test.tsv", 2)
    assert "against" not in alone
    ours, theirs, overlap = rows_of(evaluation(with_other=True))
    assert (ours["against"], ours["difference"], ours["low"], ours["high"]) == ("small", 0.25, 0.0, 0.5)
    assert (theirs["space"], theirs["value"], theirs["model_fingerprint"]) == ("small", 0.5, "s" * 64)
    assert (overlap["measure"], overlap["value"], overlap["space"], overlap["against"]) == (
        "overlap@10",
        0.75,
        "main",
        "small",
    )
