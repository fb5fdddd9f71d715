"""How many tokens a slice may have; no I/O."""

from typing import Literal

# Enough to measure a rate by, little enough to be committed within minutes on any machine.
LEAST_TOKENS = 250_000
# However small the model is, what a kill may cost has bounds.
_MOST_FIRST_TOKENS = 4_000_000
# Operations a second of one core; processors of the last ten years reach 30 to 200 thousand million in float32.
_OPERATIONS = 60e9
# A rate measured on little may be far off; slices grow by this factor at most.
_GROWTH = 8
# A slice costs a dozen statements, so that the rest goes along where it is no more than once the bound again.
_WITH_REST = 2


def first_slice_tokens(weight_bytes: int, slots: int, slice_seconds: float) -> int:
    """Guesses what a slice may have before any rate is known.

    A token costs a Transformer two operations for each weight, of four bytes mostly.

    Args:
        weight_bytes: Size of the model's weights.
        slots: Tasks that run side by side.
        slice_seconds: Seconds that a slice should take.

    Returns:
        Tokens that slow processors embed in that time, within bounds; GPUs are many times faster.

    Example:
        >>> first_slice_tokens(91_000_000, 2, 600), first_slice_tokens(1_340_000_000, 2, 600)
        (1582417, 250000)
    """
    operations = max(1.0, weight_bytes / 4 * 2)
    return int(max(LEAST_TOKENS, min(_MOST_FIRST_TOKENS, slots * _OPERATIONS / operations * slice_seconds)))


def slice_bound(
    slice_tokens: int | Literal["auto"], slice_seconds: float, first: int, last: int, done: int, seconds: float
) -> int:
    """Chooses how many tokens the next slice may have.

    Args:
        slice_tokens: The setting; a number stands as it is.
        slice_seconds: Seconds that a slice should take.
        first: Tokens of a slice before any rate is known.
        last: Tokens of the last slice; 0 before the first.
        done: Estimated tokens of the slices that are committed.
        seconds: Seconds they took.

    Returns:
        Estimated tokens after which a slice is closed.

    Example:
        >>> slice_bound("auto", 600, 800_000, 0, 0, 0.0), slice_bound("auto", 600, 1, 250_000, 250_000, 100.0)
        (800000, 1500000)
    """
    if slice_tokens != "auto":
        return slice_tokens
    if not done or not seconds:
        return first
    wanted = int(done / seconds * slice_seconds)
    return max(LEAST_TOKENS, min(wanted, _GROWTH * max(last, LEAST_TOKENS)))


def with_rest(slice_tokens: int | Literal["auto"], bound: int, left: int) -> int:
    """Takes the rest along where what is left is little more than a slice.

    Args:
        slice_tokens: The setting; a number stands as it is.
        bound: Estimated tokens after which the slice would be closed.
        left: Estimated tokens of all that is left.

    Returns:
        The bound, or all that is left.

    Example:
        >>> with_rest("auto", 1000, 1900), with_rest("auto", 1000, 2100), with_rest(1000, 1000, 1900)
        (1900, 1000, 1000)
    """
    return left if slice_tokens == "auto" and left <= _WITH_REST * bound else bound
