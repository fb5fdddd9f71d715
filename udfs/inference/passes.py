"""The forward stage: windows of tokenised texts → passes, each within the budget, each fault where it belongs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from schemas.reasons import MODEL_ERROR, OUT_OF_MEMORY
from udfs.encoders.encoder import Encoder
from udfs.encoders.tokens import Tokenized
from udfs.inference.meter import Meter
from udfs.inference.token_budget import TokenBudget

Rows = Callable[[], NDArray[np.float32]]

# torch has classes for some of these; other libraries below it have words only.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cudnn_status_alloc_failed", "cublas_status_alloc_failed")
_DEVICE_WORDS = (
    "cuda error",
    "cudnn error",
    "cublas error",
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "device kernel image is invalid",
)


@dataclass(frozen=True, slots=True)
class Pass:
    """What became of a few texts of a window.

    Attributes:
        window: The window.
        positions: Places of the texts in it.
        rows: Waits for their vectors; None where there is a reason.
        reason: Why the one text has no vector.
        detail: The reason in words, without any of the text.
        is_last: Whether the window has no other texts.
    """

    window: Tokenized
    positions: list[int]
    rows: Rows | None
    reason: str | None = None
    detail: str | None = None
    is_last: bool = False


def passes_of(encoder: Encoder, windows: Iterator[Tokenized], budget: TokenBudget, meter: Meter) -> Iterator[Pass]:
    """Runs the model over windows, longest texts of each first.

    Out of memory halves the next passes; an error of several texts is followed down to the one that raises it.

    Args:
        encoder: The loaded model.
        windows: Tokenised windows.
        budget: How many tokens a pass may hold.
        meter: Where time is counted.

    Yields:
        Passes; those of a window together hold each of its texts once.

    Raises:
        RuntimeError: The device is lost.
    """
    for window in windows:
        if not window.items:
            yield Pass(window, [], None, is_last=True)
        left = [longest_first(window.lengths)] if window.items else []
        while left:
            group = left.pop()
            size = fitting([window.lengths[position] for position in group], budget.tokens, encoder.is_padded)
            if size < len(group):
                left.append(group[size:])
            batch = group[:size]
            try:
                rows = _forward(encoder, window, batch, budget, meter)
            except Exception as error:  # whatever a model raises for one text must not take its neighbours along
                fault = pass_fault(error)
                if fault is PassFault.DEVICE:
                    raise RuntimeError("the device is lost to this process, which ends; another one goes on") from error
                if fault is PassFault.MEMORY:
                    meter.add(out_of_memory=1)
                    budget.ran_out(_cost(encoder, window, batch))
                if size > 1:
                    # The budget cuts again what did not fit; what raises is cut in two.
                    left += [batch] if fault is PassFault.MEMORY else [batch[size // 2 :], batch[: size // 2]]
                else:
                    yield _failed(window, batch, fault, error, is_last=not left)
            else:
                yield Pass(window, batch, rows, is_last=not left)


def _forward(encoder: Encoder, window: Tokenized, batch: list[int], budget: TokenBudget, meter: Meter) -> Rows:
    began = perf_counter()
    with meter.timed("forward"):
        rows = encoder.forward([window.items[position] for position in batch])
        if not budget.is_chosen:
            # A pass on a GPU only begins here: a budget is judged by passes that have ended.
            made = rows()
            rows = lambda: made  # noqa: E731
    cost, tokens = _cost(encoder, window, batch), sum(window.lengths[position] for position in batch)
    budget.passed(cost, tokens, perf_counter() - began)
    meter.add(passes=1, tokens=tokens, computed=cost)
    return rows


def _cost(encoder: Encoder, window: Tokenized, batch: list[int]) -> int:
    return batch_cost([window.lengths[position] for position in batch], encoder.is_padded)


class PassFault(Enum):
    """What to do about an error."""

    MEMORY = "make the next pass smaller"
    DEVICE = "end the process, for nothing works in it any more"
    TEXT = "look for the text that raises it"


def _failed(window: Tokenized, batch: list[int], fault: PassFault, error: Exception, is_last: bool) -> Pass:
    if fault is PassFault.MEMORY:
        return Pass(window, batch, None, OUT_OF_MEMORY, "it does not fit even alone", is_last)
    # The error's own words may quote the text.
    return Pass(window, batch, None, MODEL_ERROR, f"the model raised {type(error).__name__}", is_last)


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


def pass_fault(error: Exception) -> PassFault:
    """Tells what an error of a forward pass means.

    Args:
        error: What was raised.

    Returns:
        The fault.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return PassFault.MEMORY
    words = str(error).lower()
    # Memory first: a CUDA error can be that memory ran out.
    if isinstance(error, RuntimeError) and any(word in words for word in _MEMORY_WORDS):
        return PassFault.MEMORY
    if type(error).__name__ == "AcceleratorError":
        return PassFault.DEVICE
    if isinstance(error, RuntimeError) and any(word in words for word in _DEVICE_WORDS):
        return PassFault.DEVICE
    return PassFault.TEXT
