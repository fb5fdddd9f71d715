"""The forward stage: runs tokenized windows in passes within the token budget, and handles passes that fail."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from schemas.reasons import MODEL_ERROR, OUT_OF_MEMORY
from udfs.encoders.protocol import Encoder
from udfs.encoders.tokens import Tokenized
from udfs.inference.meter import Meter
from udfs.inference.token_budget import TokenBudget

Rows = Callable[[], NDArray[np.float32]]
# torch has exception classes for some of these errors; the libraries below it only have words.
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


class PassFault(Enum):
    """The kind of failure of a forward pass, which decides what to do next."""

    MEMORY = "make the next pass smaller"
    DEVICE = "end the process, which cannot use the device any more"
    TEXT = "find the text that raises the error"


@dataclass(frozen=True, slots=True)
class Pass:
    """The result of one forward pass.

    Attributes:
        window: The window that the texts are from.
        positions: Indices of the texts in the window.
        rows: Waits for the vectors and returns them; None if there is a reason.
        reason: Why the text has no vector; the pass then has a single text.
        detail: The reason in words, without any part of the text.
        is_last: Whether this is the window's last pass.
    """

    window: Tokenized
    positions: list[int]
    rows: Rows | None
    reason: str | None = None
    detail: str | None = None
    is_last: bool = False


def passes_of(encoder: Encoder, windows: Iterator[Tokenized], budget: TokenBudget, meter: Meter) -> Iterator[Pass]:
    """Runs the model over windows, the longest texts of each window first.

    Running out of memory halves the next passes. A pass that raises any other error is split until the text that causes
    the error is alone.

    Args:
        encoder: The loaded model.
        windows: Tokenized windows.
        budget: Limits the tokens of a pass.
        meter: Counts passes, tokens and seconds.

    Yields:
        The passes; together, the passes of a window contain each of its texts exactly once.

    Raises:
        RuntimeError: The device is lost.
    """
    for window in windows:
        if not window.items:
            yield Pass(window, [], None, is_last=True)
        waiting = [longest_first(window.lengths)] if window.items else []
        while waiting:
            group = waiting.pop()
            size = fitting([window.lengths[position] for position in group], budget.tokens, encoder.is_padded)
            if size < len(group):
                waiting.append(group[size:])
            batch = group[:size]
            try:
                rows = _forward(encoder, window, batch, budget, meter)
            except Exception as error:  # an error that one text causes must not affect its neighbors
                fault = pass_fault(error)
                if fault is PassFault.DEVICE:
                    message = "the device is lost to this process. Try again in a new process; Spark does so by itself."
                    raise RuntimeError(message) from error
                if fault is PassFault.MEMORY:
                    meter.add(out_of_memory=1)
                    budget.ran_out(_cost(encoder, window, batch))
                if size > 1:
                    # What did not fit is cut again to the smaller budget; what raised an error is cut in two.
                    waiting += [batch] if fault is PassFault.MEMORY else [batch[size // 2 :], batch[: size // 2]]
                else:
                    yield _failed(window, batch, fault, error, is_last=not waiting)
            else:
                yield Pass(window, batch, rows, is_last=not waiting)


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Returns the indices of texts, longest first; texts of equal length keep their order.

    Texts of similar length become neighbors, and memory use peaks in the first pass.
    """
    return sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))


def batch_cost(lengths: Sequence[int], is_padded: bool) -> int:
    """Counts the tokens that a forward pass computes: rows times the longest text if padded, otherwise the sum."""
    return len(lengths) * max(lengths, default=0) if is_padded else sum(lengths)


def fitting(lengths: Sequence[int], token_budget: int, is_padded: bool) -> int:
    """Counts how many texts at the front of a list fit into one forward pass.

    Args:
        lengths: Tokens of each text, longest first.
        token_budget: Maximum number of tokens in a pass, including padding; a longer text gets its own pass.
        is_padded: Whether every text is padded to the length of the longest.

    Returns:
        The count; at least 1, unless there is no text.

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
    """Classifies an error that a forward pass raised."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return PassFault.MEMORY
    words = str(error).lower()
    # Check for memory first, because running out of memory can be reported as a CUDA error.
    if isinstance(error, RuntimeError) and any(word in words for word in _MEMORY_WORDS):
        return PassFault.MEMORY
    if type(error).__name__ == "AcceleratorError":
        return PassFault.DEVICE
    if isinstance(error, RuntimeError) and any(word in words for word in _DEVICE_WORDS):
        return PassFault.DEVICE
    return PassFault.TEXT


def _forward(encoder: Encoder, window: Tokenized, batch: list[int], budget: TokenBudget, meter: Meter) -> Rows:
    began, is_on_trial = perf_counter(), encoder.is_on_trial
    with meter.timed("forward"):
        rows = encoder.forward([window.items[position] for position in batch])
        if not budget.is_chosen:
            # On a GPU, `forward` only starts the pass, but a budget is judged by finished passes.
            values = rows()
            rows = lambda: values  # noqa: E731
    cost, tokens = _cost(encoder, window, batch), sum(window.lengths[position] for position in batch)
    if not is_on_trial:
        budget.passed(cost, tokens, perf_counter() - began)
    meter.add(passes=1, tokens=tokens, computed=cost)
    return rows


def _cost(encoder: Encoder, window: Tokenized, batch: list[int]) -> int:
    return batch_cost([window.lengths[position] for position in batch], encoder.is_padded)


def _failed(window: Tokenized, batch: list[int], fault: PassFault, error: Exception, is_last: bool) -> Pass:
    if fault is PassFault.MEMORY:
        return Pass(window, batch, None, OUT_OF_MEMORY, "it does not fit even alone", is_last)
    # Without the error message, which may quote the text.
    return Pass(window, batch, None, MODEL_ERROR, f"the model raised {type(error).__name__}", is_last)
