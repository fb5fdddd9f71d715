"""Cutting a window of texts into batches of bounded cost; pure."""

from collections.abc import Iterator, Sequence


def token_batches(token_counts: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Groups texts of like length, longest first, so that little is padded and memory peaks at once.

    A batch costs what a padded forward pass computes: its rows times its longest text.

    Args:
        token_counts: Tokens of each text, as the model sees them.
        token_budget: Most tokens of a batch, padding included; a text above it is a batch of its own.

    Yields:
        Positions of the texts of one batch, longest first; together each position once.

    Example:
        >>> list(token_batches([10, 100, 20, 90], 200))
        [[1, 3], [2, 0]]
    """
    order = sorted(range(len(token_counts)), key=lambda i: (-token_counts[i], i))
    batch: list[int] = []
    for position in order:
        if batch and token_counts[batch[0]] * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
