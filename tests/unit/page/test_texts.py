"""Numbers as the page shows them, and tables and bars of facts."""

from datetime import UTC, datetime

import pytest

from spark_jobs.page import tables
from spark_jobs.page.contents import bin_width
from spark_jobs.page.facts import Contents, Coverage, Runs
from spark_jobs.page.texts import duration, money, percent, short
from spark_jobs.settings.sections import CostSettings
from tests.support.page_facts import page_facts, run_facts


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 1, "100%"), (3, 2, "150.0%"), (99_999, 100_000, "99.9%"), (0, 5, "0.0%"), (1, 100_000, "<0.1%"),
        (1, 8, "12.5%"), (0, 0, "0.0%"),
    ],
)  # fmt: skip
def test_only_all_is_all_and_only_none_is_none(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9_999, "9,999"), (12_431, "12.4k"), (999_499, "999k"), (3_812_330, "3.81M"), (2.5e9, "2.5bn")],
)
def test_large_numbers_have_three_digits(number: float, text: str) -> None:
    assert short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00 min"), (87.4, "1:27 min"), (3_599.6, "1:00 h"), (7_530, "2:05 h")],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("amount", "text"), [(0, "0.00"), (0.0293, "0.029"), (2.539, "2.54"), (12_345.6, "12,345.60")])
def test_small_amounts_keep_two_digits(amount: float, text: str) -> None:
    assert money(amount) == text


@pytest.mark.parametrize(
    ("longest", "width"), [(0, 1), (39, 1), (40, 2), (256, 8), (512, 16), (8_192, 250), (10**6, 26_000)]
)
def test_bins_are_as_wide_as_forty_of_them_need(longest: int, width: int) -> None:
    assert bin_width(longest) == width
    assert longest // bin_width(longest) < 40


def test_the_figures_are_those_of_the_facts() -> None:
    found = {each.label: (each.value, each.note, each.tone) for each in tables.figures(page_facts(runs=3, points=5))}
    assert found["Coverage"] == ("98.8%", "12,391 of 12,544 documents of the source are in step", "")
    assert found["Embedded"] == ("12.4k", "documents; 37 quarantined, 12 empty", "")
    assert found["Truncated"] == ("1.1%", "214 of 18,912 chunks were longer than the model sees", "bad")
    assert found["nDCG@10"] == ("0.645", "300 queries, 2026-02-07", "")
    assert list(found) == ["Coverage", "Embedded", "Chunks", "Truncated", "Tokens per second", "nDCG@10", "Cost"]


def test_a_source_that_cannot_be_read_covers_nothing_that_is_known() -> None:
    unread = page_facts(coverage=Coverage({}, None, ("the source cannot be read",)), runs=0, points=1)
    assert tables.figures(unread)[0].value == "unknown"
    assert tables.backlog_bars(unread) == []
    empty = page_facts(coverage=Coverage({"unchanged": 0, "added": 0, "removed": 2}), runs=0, points=1)
    assert tables.figures(empty)[0].value == "–"
    assert [(bar.label, bar.count, bar.share) for bar in tables.backlog_bars(empty)] == [
        ("in step", "0", 0),
        ("removed", "2", 0),
    ]


def test_bars_are_shares_of_the_source() -> None:
    bars = [(bar.label, bar.count, bar.text) for bar in tables.backlog_bars(page_facts(runs=1, points=1))]
    assert bars == [
        ("in step", "12,391", "98.8%"), ("added", "96", "0.8%"), ("changed", "41", "0.3%"),
        ("tried again", "4", "<0.1%"),
        ("with new payload only", "12", "0.1%"), ("removed", "3", "<0.1%"),
    ]  # fmt: skip
    reasons = tables.reason_bars({"too_large": 1, "model_error": 3})
    assert [(bar.label, bar.count, bar.text) for bar in reasons] == [
        ("model_error", "3", "75.0%"),
        ("too_large", "1", "25.0%"),
    ]
    assert tables.status_bars({}) == []


def test_what_a_run_cost_and_lost() -> None:
    run = run_facts(
        4,
        at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        seconds={"embed": 1_000.0, "close": 800.0},
        counts={"added": 7, "removed": 1, "chunks": 20, "tokens_embedded": 5_000, "tokens_saved": 500},
        inference={"tokens": 900.0, "computed": 1_000.0, "forward": 30.0, "forward_waited": 10.0},
    )
    assert (run.tokens_per_second, run.padding, run.waited, run.tokens) == (5.0, pytest.approx(0.1), 0.25, 5_500)
    assert run.cost(CostSettings(per_hour=3)) == 1.5 and run.cost(CostSettings()) is None
    table = tables.run_table([run], 30, CostSettings(per_hour=3, currency="EUR"))
    assert dict(zip([column.name for column in table.columns], table.rows[0], strict=True)) == {
        **{
            "run": "4",
            "end": "finished",
            "at (UTC)": "2026-01-02 03:04",
            "changed": "8",
            "chunks": "20",
            "tokens/s": "5",
        },
        **{"padding": "10.0%", "waited": "25%", "slices": "1", "time": "30:00 min", "EUR": "1.50"},
    }
    assert table.note == "The last 1 of 30 runs."


def test_a_run_that_embedded_nothing_has_no_rates() -> None:
    run = run_facts(1, counts={}, seconds={"close": 0.5}, inference={})
    assert (run.tokens_per_second, run.padding, run.waited) == (None, None, None)
    facts = page_facts(points=1, runs=0, evaluations=[])
    assert "Tokens per second" not in {each.label for each in tables.figures(facts)}


def test_a_space_without_chunks_has_no_figures_of_them() -> None:
    facts = page_facts(contents=Contents({"empty": 3}, {}), runs=0, points=1, cost=CostSettings(), evaluations=[])
    assert [each.label for each in tables.figures(facts)] == ["Coverage", "Embedded"]
    assert facts.runs == Runs(0, [], 1, facts.runs.slices)
