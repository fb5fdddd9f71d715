"""What passes the gate of a promotion, and what is recorded of it."""

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import InputError
from spark_jobs.evaluation.gate import Verdict
from spark_jobs.evaluation.judgements import JudgedQueries
from spark_jobs.evaluation.measures import MeasureDifference
from spark_jobs.evaluation.report import Comparison, Evaluation, SpaceScores
from spark_jobs.search.text_files import TextFile
from spark_jobs.settings.loading import checked
from spark_jobs.settings.sections import PromotionSettings
from spark_jobs.store.readiness import LedgerAgreement

WHOLE = LedgerAgreement(documents=200, covered=200, behind=0)
JUDGED = JudgedQueries(
    {"q": "?"}, {"q": {"d": 1}}, 0, TextFile(Path("q.jsonl"), "0", (), ()), TextFile(Path("j.tsv"), "0", (), ())
)


def scores(space: str, value: float) -> SpaceScores:
    return SpaceScores(
        space=space,
        model_fingerprint="f",
        vectors_version=1,
        truncated=0,
        missing=0,
        own_documents=0,
        scores={"nDCG@10": np.array([value])},
    )


def verdict(difference: MeasureDifference | None, agreement: LedgerAgreement = WHOLE, **settings: float) -> Verdict:
    evaluation = None
    if difference is not None:
        comparison = Comparison(scores("toy.main", 0.5), {"nDCG@10": difference}, 1.0)
        evaluation = Evaluation(JUDGED, 10, 100, scores("toy.next", 0.5 + difference.value), comparison)
    return Verdict(PromotionSettings(**settings), agreement, evaluation)


@pytest.mark.parametrize(
    ("difference", "settings", "passes"),
    [
        # Only the lower end counts: a better mean that may be worse does not pass by default.
        (MeasureDifference(0.02, 0.001, 0.04), {}, True),
        (MeasureDifference(0.0, 0.0, 0.0), {}, True),
        (MeasureDifference(0.02, -0.001, 0.04), {}, False),
        (MeasureDifference(0.02, -0.001, 0.04), {"max_loss": 0.001}, True),
        (MeasureDifference(-0.03, -0.05, -0.01), {"max_loss": 0.04}, False),
        # A single query has no interval.
        (MeasureDifference(0.1, None, None), {}, True),
        (MeasureDifference(-0.1, None, None), {}, False),
        (None, {}, True),
    ],
)
def test_the_lower_end_of_the_interval_decides(
    difference: MeasureDifference | None, settings: dict[str, float], passes: bool
) -> None:
    assert (not verdict(difference, **settings).faults()) == passes


@pytest.mark.parametrize(("covered", "least", "passes"), [(198, 0.99, True), (197, 0.99, False), (0, 0.0, True)])
def test_coverage_decides_with_and_without_judgements(covered: int, least: float, passes: bool) -> None:
    for difference in (None, MeasureDifference(0.1, 0.1, 0.1)):
        found = verdict(difference, LedgerAgreement(200, covered, 200 - covered), min_coverage=least)
        assert (not found.faults()) == passes
    # Every cause is named.
    assert len(verdict(MeasureDifference(-1, -1, -1), LedgerAgreement(2, 0, 2)).faults()) == 2
    # A library without documents leaves nothing uncovered.
    assert verdict(None, LedgerAgreement(0, 0, 5)).faults() == []


def test_figures_are_those_that_were_decided_by() -> None:
    assert verdict(None).figures() == {"documents": 200.0, "covered": 200.0, "coverage": 1.0}
    assert verdict(MeasureDifference(0.25, 0.125, 0.5)).figures() == {
        **{"documents": 200.0, "covered": 200.0, "coverage": 1.0},
        **{"nDCG@10": 0.75, "nDCG@10 of the active space": 0.5},
        **{"difference": 0.25, "low": 0.125, "high": 0.5, "queries": 1.0},
    }
    assert set(verdict(MeasureDifference(0.25, None, None)).figures()) >= {"difference", "queries"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"measure": ""}, "promotion.measure|measure"),
        ({"measure": "nDCG"}, "measure"),
        ({"measure": "nDCG@0"}, "measure"),
        ({"queries": "q.jsonl"}, "queries and judgements go together"),
        ({"judgements": "j.tsv"}, "queries and judgements go together"),
        ({"max_loss": -0.1}, "max_loss"),
        ({"min_coverage": 1.1}, "min_coverage"),
        ({"keep_days": float("nan")}, "keep_days"),
    ],
)
def test_settings_that_decide_nothing_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked(PromotionSettings, values)


def test_a_measure_says_how_deep_it_looks() -> None:
    assert PromotionSettings(measure="AP@100").cutoff == 100
