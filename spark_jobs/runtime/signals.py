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
    for number in _SIGNALS:
        signal.signal(number, _stop)
    try:
        yield
    except Exception as error:
        stop = interruption_of(error)
        if stop is None:
            raise
        raise stop from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        logging.disable(logging.NOTSET)
        for number, handler in earlier.items():
            signal.signal(number, handler)


def interruption_of(error: BaseException) -> KeyboardInterrupt | None:
    """Finds the interrupt behind an error.

    What is tidied up on the way out may fail in its turn, for an interrupt in the middle of a call breaks the
    connection to Java; Python then shows that error and keeps the interrupt as its context.

    Args:
        error: What was raised.

    Returns:
        The interrupt; None where there was none.

    Example:
        >>> interruption_of(ValueError()), interruption_of(KeyboardInterrupt())
        (None, KeyboardInterrupt())
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt):
        found = found.__context__
    return found


def _stop(number: int, _frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_DFL)

    def give_up(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(number)

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS_TO_END)
    # Py4J logs the trace of whatever interrupts it, and a stop that was asked for is no fault to trace.
    logging.disable()
    raise StoppedError(number)
