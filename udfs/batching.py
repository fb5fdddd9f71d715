"""Cutting a window of texts into batches of bounded cost; pure."""

from collections.abc import Sequence


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Orders texts so that those of like length are neighbours, and memory peaks at once.

    Args:
        lengths: Tokens of each text, as the model sees them.

    Returns:
        Positions, longest text first, equal ones in their order.

    Example:
        >>> longest_first([10, 100, 20, 100])
        [1, 3, 2, 0]
    """
    return sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))


def batch_cost(lengths: Sequence[int], is_padded: bool) -> int:
    """Counts the tokens that a forward pass computes.

    Args:
        lengths: Tokens of each text of the batch.
        is_padded: Whether every text is padded to the longest.

    Returns:
        Rows times the longest text where padded, else the sum.
    """
    return len(lengths) * max(lengths, default=0) if is_padded else sum(lengths)


def fitting(lengths: Sequence[int], token_budget: int, is_padded: bool) -> int:
    """Counts the texts from the front of a list that fit into one forward pass.

    Args:
        lengths: Tokens of each text, longest first.
        token_budget: Most tokens of a pass, padding included; a text above it is a pass of its own.
        is_padded: Whether every text is padded to the longest.

    Returns:
        At least 1, unless there is no text.

    Example:
        >>> fitting([100, 90, 20, 10], 200, is_padded=True), fitting([100, 90, 20, 10], 200, is_padded=False)
        (2, 2)
    """
    cost = 0
    for count, length in enumerate(lengths, start=1):
        cost = count * lengths[0] if is_padded else cost + length
        if cost > token_budget and count > 1:
            return count - 1
    return len(lengths)
