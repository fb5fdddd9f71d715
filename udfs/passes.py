"""The forward stage: windows of tokenised texts → passes, each within the budget, each fault where it belongs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from schemas.reasons import MODEL_ERROR, OUT_OF_MEMORY
from udfs.batching import batch_cost, fitting, longest_first
from udfs.encoder import Encoder
from udfs.inference_faults import Fault, fault_of
from udfs.meter import Meter
from udfs.token_budget import TokenBudget
from udfs.tokens import Tokenized

Rows = Callable[[], NDArray[np.float32]]


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
                fault = fault_of(error)
                if fault is Fault.DEVICE:
                    raise RuntimeError("the device is lost to this process, which ends; another one goes on") from error
                if fault is Fault.MEMORY:
                    meter.add(out_of_memory=1)
                    budget.ran_out(_cost(encoder, window, batch))
                if size > 1:
                    # The budget cuts again what did not fit; what raises is cut in two.
                    left += [batch] if fault is Fault.MEMORY else [batch[size // 2 :], batch[: size // 2]]
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


def _failed(window: Tokenized, batch: list[int], fault: Fault, error: Exception, is_last: bool) -> Pass:
    if fault is Fault.MEMORY:
        return Pass(window, batch, None, OUT_OF_MEMORY, "it does not fit even alone", is_last)
    # The error's own words may quote the text.
    return Pass(window, batch, None, MODEL_ERROR, f"the model raised {type(error).__name__}", is_last)
