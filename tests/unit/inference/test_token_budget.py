"""The budget of a pass: tried, chosen, halved when memory runs out, grown back."""

import pytest

from udfs.inference.token_budget import TokenBudget


def run(budget: TokenBudget, rates: dict[int, float], passes: int = 100) -> list[int]:
    """Full passes, each as fast as its candidate is."""
    tried = []
    for _ in range(passes):
        tokens = budget.tokens
        tried.append(tokens)
        budget.passed(tokens, tokens, tokens / rates[tokens])
    return tried


def test_a_single_candidate_is_taken_as_it_is() -> None:
    budget = TokenBudget([77])
    assert (budget.tokens, budget.is_chosen) == (77, True)
    budget.passed(77, 70, 1.0)
    assert budget.tokens == 77


@pytest.mark.parametrize("fastest", [100, 200, 400])
def test_the_fastest_candidate_is_chosen_after_three_passes_of_each(fastest: int) -> None:
    budget = TokenBudget([100, 200, 400])
    rates = {candidate: 2.0 if candidate == fastest else 1.0 for candidate in (100, 200, 400)}
    tried = run(budget, rates)
    assert tried[:10] == [100, 100, 200, 400, 100, 200, 400, 100, 200, 400], "the first pass of all only warms up"
    assert set(tried[10:]) == {fastest}
    assert budget.is_chosen


def test_one_slow_pass_does_not_decide() -> None:
    budget = TokenBudget([100, 200])
    for number in range(20):
        tokens = budget.tokens
        seconds = 50.0 if number == 4 else tokens / {100: 1.0, 200: 2.0}[tokens]
        budget.passed(tokens, tokens, seconds)
    assert budget.tokens == 200


def test_a_pass_that_is_far_from_full_is_not_measured() -> None:
    budget = TokenBudget([100, 200])
    for _ in range(50):
        budget.passed(20, 20, 0.001)
    assert not budget.is_chosen


def test_out_of_memory_halves_the_budget_and_clean_passes_restore_it() -> None:
    budget = TokenBudget([1000])
    budget.ran_out(900)
    assert budget.tokens == 450
    budget.ran_out(450)
    assert budget.tokens == 225
    for _ in range(31):
        budget.passed(200, 200, 1.0)
    assert budget.tokens == 225
    budget.passed(200, 200, 1.0)
    assert budget.tokens == 450
    for _ in range(64):
        budget.passed(200, 200, 1.0)
    assert budget.tokens == 1000, "and no higher than it was"


def test_candidates_that_did_not_fit_are_no_longer_tried() -> None:
    budget = TokenBudget([100, 200, 400])
    budget.ran_out(400)
    assert {budget.tokens} | set(run(budget, {100: 1.0, 200: 2.0})) == {100, 200}


def test_the_budget_never_falls_below_one_token() -> None:
    budget = TokenBudget([4])
    for _ in range(5):
        budget.ran_out(1)
    assert budget.tokens == 1
