"""Ctrl-C and SIGTERM end a run cleanly."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from schemas.errors import StoppedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Spot machines give little notice, and orchestrators kill a process that does not end on its own.
_SECONDS_TO_END = 10


@contextmanager
def stop_in_order() -> Iterator[None]:
    """Turns the first signal into `StoppedError` in the main thread; a second one ends the process at once.

    Handling the error (cancelling Spark's work, recording the end) may take ten seconds. After that the process ends
    with the signal's exit code, whatever it is doing.
    """
    if threading.current_thread() is not threading.main_thread():
        # A platform's own thread gets no signals; the platform ends its run by cancelling what Spark does.
        yield
        return
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
    """Finds the interrupt behind an error; None if there was none.

    Cleaning up can fail too, because an interrupt in the middle of a call breaks the connection to Java. Python then
    raises that error and keeps the interrupt as its context.
    """
    current: BaseException | None = error
    while current is not None and not isinstance(current, KeyboardInterrupt):
        current = current.__context__
    return current


def _stop(number: int, _frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_DFL)

    def give_up(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(number)

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS_TO_END)
    # Py4J logs a stack trace of whatever interrupts it, but a stop on request is not a fault.
    logging.disable()
    raise StoppedError(number)
