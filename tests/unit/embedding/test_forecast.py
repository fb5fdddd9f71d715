"""Forecasts of tokens and seconds from runs that are on record, and the caps that reckon with them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as deadlines
from hypothesis import strategies as st

from spark_jobs.embedding.accounting import as_counts, estimate_line
from spark_jobs.embedding.cap import Spent, fits, most_tokens, room_left, what_is_left
from spark_jobs.embedding.forecast import Forecast, PastRun, TextLengths, Workload, forecast
from spark_jobs.embedding.slicing import LEAST_TOKENS, Group, Work, slice_count
from spark_jobs.settings import Settings, as_settings
from spark_jobs.settings.sections import CostSettings, RunSettings

CPU = "cpu float32 by torch"
# 4 characters a token, 100 tokens a chunk; 10 s of pre-flight and comparison, 5 s + 100 s of inference, 8 s + 20 s.
LOAD = PastRun(
    lengths=TextLengths(4_000_000),
    documents=10_000,
    chunks=10_000,
    tokens=1_000_000,
    embedded=1_000_000,
    kept=0,
    seconds=143.0,
    ahead=10.0,
    inference=105.0,
    slots=2,
    worker=CPU,
)
NEW = Workload(documents=1_000, to_embed=1_000, lengths=TextLengths(400_000), repeated=0, slots=2, ahead=12.0)


def settings_with(**sections: dict[str, object]) -> Settings:
    values: dict[str, object] = {
        "library": "toy",
        "store": {"path": "/lake"},
        "source": {"format": "json", "path": "/source", "id_column": "id", "text_columns": ["text"]},
        "model": {"path": "fake:8"},
    }
    return as_settings({**values, **sections})


def expected_of(embedded: int, seconds: float | None = None, rate: float | None = None) -> Forecast:
    return Forecast(embedded, embedded, 0, seconds, rate, "", 0, None, None)


def test_a_run_is_forecast_by_one_of_another_size() -> None:
    found = forecast(NEW, [LOAD], 4.0)
    assert (found.tokens, found.embedded, found.chunks, found.reused) == (100_000, 100_000, 1_000, 0)
    # 12 s so far, 5 + 10 s of inference, 8 + 2 s of the rest: a line through the expected start and the one run.
    assert found.seconds == pytest.approx(12 + 15 + 10, rel=0.001)
    assert found.tokens_per_second == pytest.approx(100_000 / 15, rel=0.001)
    assert (found.runs, found.worker, found.token_error, found.second_error) == (1, CPU, None, None)


def test_the_space_s_own_characters_a_token_count() -> None:
    chinese = replace(LOAD, lengths=TextLengths(1_500_000))
    assert forecast(NEW, [chinese], 4.0).tokens == round(400_000 / 1.5)
    assert forecast(NEW, [], 1.5).tokens == round(400_000 / 1.5)
    # A run that embedded nothing tells nothing about tokens.
    assert (
        forecast(NEW, [replace(LOAD, tokens=0, embedded=0, chunks=0, inference=0.0, worker="")], 2.0).tokens == 200_000
    )


def test_slots_speed_inference_up() -> None:
    eight = forecast(replace(NEW, slots=8), [LOAD], 4.0)
    assert eight.seconds == pytest.approx(12 + 5 + 2.5 + 10, rel=0.02)


def test_only_runs_on_the_kind_of_worker_of_the_newest_count() -> None:
    gpu = replace(LOAD, worker="cuda bfloat16 by torch", inference=6.0, seconds=44.0)
    found = forecast(NEW, [gpu, LOAD], 4.0)
    assert (found.runs, found.worker) == (1, "cuda bfloat16 by torch")
    assert found.seconds is not None and found.seconds < 12 + 6 + 11


def test_what_is_changed_is_embedded_as_far_as_past_edits_suggest() -> None:
    edits = replace(NEW, lengths=TextLengths(400_000, changed=400_000, kept=200_000))
    # Nothing but the number of chunks is known.
    assert forecast(edits, [LOAD], 4.0).embedded == 50_000
    # In ten times as much text, a run kept nine tenths.
    past = replace(LOAD, lengths=TextLengths(4_000_000, changed=4_000_000), kept=900_000, embedded=100_000)
    assert forecast(edits, [past], 4.0).embedded == pytest.approx(100_000 * (1 - 3.8 / 4.4), rel=0.001)


def test_texts_that_exist_are_not_embedded() -> None:
    found = forecast(replace(NEW, repeated=400_000), [LOAD], 4.0)
    assert (found.tokens, found.embedded, found.reused) == (100_000, 0, 100_000)
    # No inference, and so no rate is needed either.
    assert found.seconds == pytest.approx(12 + 10, rel=0.001) and found.tokens_per_second is None


def test_without_a_rate_there_is_no_time_and_a_given_rate_counts() -> None:
    assert forecast(NEW, [], 4.0).seconds is None
    given_one = forecast(NEW, [LOAD], 4.0, tokens_per_second=1_000.0)
    assert given_one.seconds == pytest.approx(12 + 5 + 100 + 10, rel=0.001)


def test_errors_of_past_forecasts_are_shown() -> None:
    runs = [
        replace(LOAD, estimated_tokens=tokens, estimated_seconds=seconds)
        for tokens, seconds in ((1_100_000, 143.0), (980_000, 286.0), (None, None))
    ]
    found = forecast(NEW, runs, 4.0)
    assert found.token_error == pytest.approx(0.06) and found.second_error == pytest.approx(0.5)


@deadlines(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 10**7), st.floats(0.1, 10**5), st.floats(0, 10**4)), max_size=6),
    st.integers(0, 10**9),
)
def test_a_forecast_is_never_negative_and_more_text_never_takes_less(
    runs: list[tuple[int, float, float]], characters: int
) -> None:
    past = [
        replace(LOAD, tokens=tokens, embedded=tokens, inference=inference, seconds=10 + inference + rest)
        for tokens, inference, rest in runs
    ]
    small = forecast(replace(NEW, lengths=TextLengths(characters)), past, 4.0)
    large = forecast(replace(NEW, lengths=TextLengths(2 * characters)), past, 4.0)
    assert 0 <= small.embedded <= small.tokens <= large.tokens
    if past:
        assert small.seconds is not None and large.seconds is not None
        assert 0 <= small.seconds <= large.seconds + 1e-6


def test_prices() -> None:
    assert CostSettings(per_hour=5.0).price_of(1_800.0) == 2.5
    assert CostSettings(per_hour=5.0).price_of(None) is None and CostSettings().price_of(3.0) is None


def test_what_the_record_keeps_and_the_summary_shows() -> None:
    lengths = TextLengths(400, 40)
    counts = as_counts(forecast(NEW, [LOAD], 4.0), lengths, 2, 40.5)
    assert counts == {
        "characters": 400,
        "characters_changed": 40,
        "slots": 2,
        "milliseconds": 40_500,
        "estimated_tokens": 100_000,
        "estimated_seconds": 37,
    }
    line = estimate_line({**counts, "tokens_embedded": 80_000})
    assert line == "100,000 tokens to embed, 25.0% too many · 37 s, 8.6% too few"
    first = as_counts(forecast(NEW, [], 4.0, tokens_per_second=5.0), lengths, 2, 40.5)
    assert "estimated_tokens" not in first and estimate_line({**first, "tokens_embedded": 5}) == ""


def work_of(*tokens: int) -> Work:
    return Work({}, tuple(Group(key, number, 10, 10) for key, number in enumerate(tokens)), "by hand")


def test_the_room_that_a_cap_on_tokens_leaves() -> None:
    settings, work = settings_with(run={"max_tokens": 1_000}), work_of(600, 600, 600)
    assert room_left(settings_with(), work, expected_of(1_800), Spent(0, 0, 0, 0)) is None
    assert room_left(settings, work, expected_of(1_800), Spent(0, 0, 0, 0)) == 1_000
    # Half of what is planned is expected to be reused.
    assert room_left(settings, work, expected_of(900), Spent(0, 0, 0, 0)) == 2_000
    # And twice as many tokens were embedded as the plan said.
    room = room_left(settings, work, expected_of(900), Spent(400, 800, 0, 0))
    assert room == 100 and not fits(work.groups, room)
    assert fits(work_of(0, 600).groups, room) and fits(work_of(100).groups, room) and fits(work.groups, None)
    assert room_left(settings, work, expected_of(0), Spent(0, 0, 0, 0)) == float("inf")


def test_the_room_that_a_cap_on_the_price_leaves() -> None:
    settings = settings_with(run={"max_cost": 1.0}, cost={"per_hour": 3_600.0 / 115})
    work = work_of(1_000)
    # 115 s, less 15 s for the end of the run and 50 s that are gone: 50 s at 20 planned tokens a second.
    assert room_left(settings, work, expected_of(1_000), Spent(400, 400, 50.0, 20.0)) == pytest.approx(1_000)
    # Before the first slice, by the forecast: 500 of the 1,000 planned tokens at 10 a second are 50 s.
    assert room_left(settings, work, expected_of(500, 80.0, 10.0), Spent(0, 0, 50.0, 0.0)) == pytest.approx(1_000)
    # Nobody knows a rate: the least slice is a trial, if there is time left at all.
    assert room_left(settings, work, expected_of(500), Spent(0, 0, 50.0, 0.0)) == LEAST_TOKENS
    assert room_left(settings, work, expected_of(500), Spent(0, 0, 101.0, 0.0)) == 0


def test_after_how_many_tokens_a_cap_ends_a_run() -> None:
    assert most_tokens(settings_with(), expected_of(100)) is None
    both = settings_with(run={"max_tokens": 500, "max_cost": 1.0}, cost={"per_hour": 36.0})
    # 100 s are paid for, and the run would take 130: 30 s at 10 tokens a second are missing.
    assert most_tokens(both, expected_of(700, 130.0, 10.0)) == 400
    assert most_tokens(both, expected_of(700)) == 500


def test_what_a_capped_run_says() -> None:
    settings = settings_with(run={"max_tokens": 1_000, "max_cost": 2.5}, cost={"per_hour": 1, "currency": "EUR"})
    left = work_of(600, 700).groups
    assert what_is_left(settings, "toy.main.3", 2, left, 1.5) == (
        "run toy.main.3 ended at run.max_tokens 1,000 or run.max_cost 2.5 EUR: 2 slices are committed, 20 documents "
        "with about 1,950 tokens are left. Run again to go on."
    )
    assert what_is_left(settings, "toy.main.3", 0, left, 1.0) == (
        "run toy.main.3 ended at run.max_tokens 1,000 or run.max_cost 2.5 EUR before its first commit: 20 documents "
        "with about 1,300 tokens are left, and the smallest slice has about 600. Raise the cap to go on."
    )


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("run", {"max_tokens": 0}, "run.max_tokens"),
        ("run", {"max_cost": 0}, "run.max_cost"),
        ("run", {"max_cost": 3.0}, "run.max_cost needs cost.per_hour"),
    ],
)
def test_caps_that_cannot_be(section: str, value: dict[str, object], message: str) -> None:
    with pytest.raises(Exception, match=message):
        settings_with(**{section: value})


def test_slices_of_a_known_rate() -> None:
    auto = RunSettings(slice_seconds=600)
    # 250,000; then no more than eight times as many: 2,000,000; then the rate's 6,000,000, which the rest joins.
    assert slice_count(auto, 12_000_000, 0, 250_000, 10_000.0) == 3
    assert slice_count(auto, 400_000, 0, 250_000, 0.0) == 1
    assert slice_count(auto, 0, 1_200_000, 250_000, 0.0) == 3
    assert slice_count(RunSettings(slice_tokens=1_000), 2_500, 0, 250_000, 0.0) == 3
