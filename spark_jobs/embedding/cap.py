"""The cap of a run: how much of its work it may still do; no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from spark_jobs.embedding.forecast import Forecast
from spark_jobs.embedding.slicing import LEAST_TOKENS, Group, Work
from spark_jobs.settings.loading import Settings

_HOUR = 3600
# After the last slice a run commits, reconciles and closes.
_SECONDS_TO_END = 15.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has spent so far.

    Attributes:
        planned: Estimated tokens of the slices that were embedded.
        embedded: Tokens that were embedded for them.
        seconds: Wall-clock seconds from the start of the session.
        on_slices: Those of them spent on slices.
    """

    planned: int
    embedded: int
    seconds: float
    on_slices: float


def is_capped(settings: Settings) -> bool:
    """Whether a run has a cap."""
    return settings.run.max_tokens is not None or settings.run.max_cost is not None


def room_left(settings: Settings, work: Work, expected: Forecast, spent: Spent) -> float | None:
    """Returns how many estimated tokens the next slice may have.

    Args:
        settings: The caps, and what an hour costs.
        work: What the run has to do.
        expected: Its forecast.
        spent: What it has spent.

    Returns:
        Tokens in the unit of the plan; None without a cap. They may be negative.
    """
    rooms = []
    run, paid = settings.run, _paid_seconds(settings)
    share = embedded_share(work, expected, spent.planned, spent.embedded)
    if run.max_tokens is not None:
        rooms.append((run.max_tokens - spent.embedded) / share if share else float("inf"))
    if paid is not None:
        left = paid - spent.seconds - _SECONDS_TO_END
        seconds = _seconds_a_token(work, expected, spent)
        # Nothing is known before the first slice of the first run, so that one is a trial.
        rooms.append(left / seconds if seconds else (LEAST_TOKENS if left > 0 else 0))
    return min(rooms, default=None)


def embedded_share(work: Work, expected: Forecast, planned: int, embedded: int) -> float:
    """Returns how many tokens are embedded for each estimated one of the plan.

    The plan estimates tokens by characters alone; what is embedded of them is known better with each slice.

    Args:
        work: What the run has to do.
        expected: Its forecast.
        planned: Estimated tokens of the slices so far.
        embedded: Tokens that were embedded for them.

    Returns:
        The share of the slices so far; before the first, that of the forecast.
    """
    return embedded / planned if planned else expected.embedded / max(1, work.tokens)


def _paid_seconds(settings: Settings) -> float | None:
    """Returns how long a session `run.max_cost` pays for; None without that cap."""
    run, cost = settings.run, settings.cost
    return None if run.max_cost is None or not cost.per_hour else run.max_cost / cost.per_hour * _HOUR


def _seconds_a_token(work: Work, expected: Forecast, spent: Spent) -> float | None:
    if spent.planned:
        return spent.on_slices / spent.planned
    if expected.tokens_per_second and work.tokens:
        return expected.embedded / expected.tokens_per_second / work.tokens
    return None


def most_tokens(settings: Settings, expected: Forecast) -> int | None:
    """Returns after how many embedded tokens a cap ends a run; None without a cap, or if nobody knows."""
    run, paid, most = settings.run, _paid_seconds(settings), []
    if run.max_tokens is not None:
        most.append(run.max_tokens)
    if paid is not None and expected.seconds is not None and expected.tokens_per_second:
        most.append(max(0, round(expected.embedded - (expected.seconds - paid) * expected.tokens_per_second)))
    return min(most, default=None)


def caps_of(settings: Settings) -> list[str]:
    """Renders the caps of the settings; none if they have none."""
    run = settings.run
    caps = [] if run.max_tokens is None else [f"run.max_tokens {run.max_tokens:,}"]
    return caps + ([] if run.max_cost is None else [f"run.max_cost {run.max_cost:g} {settings.cost.currency}"])


def fits(groups: Sequence[Group], room: float | None) -> bool:
    """Whether a cap leaves room for the smallest slice; documents without text to embed always fit."""
    return room is None or groups[0].tokens == 0 or groups[0].tokens <= room


def what_is_left(settings: Settings, run_id: str, slices: int, groups: Sequence[Group], share: float) -> str:
    """Says at which cap a run ended, what is committed and what is left.

    Args:
        settings: The caps.
        run_id: The run.
        slices: Slices that it committed.
        groups: The work that is left.
        share: Tokens to embed for each estimated one.

    Returns:
        The message: cause and remedy.
    """
    cap = " or ".join(caps_of(settings))
    documents, tokens = sum(group.documents for group in groups), sum(group.tokens for group in groups) * share
    left = f"{documents:,} documents with about {tokens:,.0f} tokens are left"
    if slices:
        return (
            f"run {run_id} ended at {cap}: {slices:,} {'slice is' if slices == 1 else 'slices are'} "
            f"committed, {left}. Run again to go on."
        )
    return (
        f"run {run_id} ended at {cap} before its first commit: {left}, and the smallest slice has about "
        f"{groups[0].tokens * share:,.0f}. Raise the cap to go on."
    )
