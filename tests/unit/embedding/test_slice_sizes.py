"""How many tokens a slice may have."""

import pytest

from spark_jobs.embedding.slicing import LEAST_TOKENS, first_slice_tokens, slice_bound, with_rest


@pytest.mark.parametrize(
    ("last", "done", "seconds", "expected"),
    [
        pytest.param(0, 0, 0.0, 900_000, id="the first slice is guessed"),
        pytest.param(250_000, 250_000, 250.0, 600_000, id="1,000 tokens a second, 600 seconds"),
        pytest.param(250_000, 250_000, 1.0, 2_000_000, id="eight times the last one at most"),
        pytest.param(2_000_000, 2_250_000, 9.0, 16_000_000, id="and so on"),
        pytest.param(250_000, 250_000, 5_000.0, LEAST_TOKENS, id="a slow machine gets the least"),
        pytest.param(0, 0, 30.0, 900_000, id="slices without tokens tell no rate"),
    ],
)
def test_automatic_slices_aim_at_a_duration(last: int, done: int, seconds: float, expected: int) -> None:
    assert slice_bound("auto", 600, 900_000, last, done, seconds) == expected


def test_a_fixed_number_of_tokens_is_kept() -> None:
    assert slice_bound(7, 600, 900_000, 250_000, 250_000, 1.0) == 7
    assert with_rest(7, 7, 8) == 7


@pytest.mark.parametrize(
    ("weight_bytes", "slots", "seconds", "expected"),
    [
        pytest.param(90_868_376, 2, 600.0, 1_584_709, id="22.7 million weights on two cores"),
        pytest.param(90_868_376, 4, 300.0, 1_584_709, id="twice the cores in half the time"),
        pytest.param(1_340_000_000, 1, 600.0, LEAST_TOKENS, id="a large model on one core"),
        pytest.param(0, 64, 600.0, 4_000_000, id="a model without weights"),
    ],
)
def test_the_first_slice_is_estimated_from_the_size_of_the_model(
    weight_bytes: int, slots: int, seconds: float, expected: int
) -> None:
    assert first_slice_tokens(weight_bytes, slots, seconds) == expected


@pytest.mark.parametrize(("left", "expected"), [(50, 50), (100, 100), (200, 200), (201, 100)])
def test_a_small_remainder_joins_the_last_slice(left: int, expected: int) -> None:
    assert with_rest("auto", 100, left) == expected
