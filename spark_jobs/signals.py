"""Ctrl-C and SIGTERM end a run in order: once, and not twice."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from schemas.errors import StoppedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A spot machine gives little notice, and an orchestrator kills what does not end by itself.
_SECONDS_TO_END = 10


@contextmanager
def stop_in_order() -> Iterator[None]:
    """Turns the first signal into `StoppedError` in the main thread; a second one ends the process at once.

    What handles the error (cancelling Spark's work, recording the end) has ten seconds, after which the process ends
    with the signal's exit code whatever it is doing.
    """
    earlier = {number: signal.getsignal(number) for number in _SIGNALS}
    root = logging.getLogger()
    root.addFilter(_is_no_stop)
    for number in _SIGNALS:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        root.removeFilter(_is_no_stop)
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _is_no_stop(record: logging.LogRecord) -> bool:
    # Py4J logs the trace of whatever interrupts it; a stop that was asked for is no fault to trace.
    return not (record.exc_info and isinstance(record.exc_info[1], StoppedError))


def _stop(number: int, _frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_DFL)

    def give_up(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(number)

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS_TO_END)
    raise StoppedError(number)
