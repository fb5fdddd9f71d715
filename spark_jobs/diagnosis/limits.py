"""Work that may hang, for a limited time."""

import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


class TooLongError(Exception):
    """Work has not ended in time; its thread may still be waiting."""


def within(seconds: float, work: Callable[[], Answer]) -> Answer:
    """Does work in a thread of its own and waits for it only so long.

    Args:
        seconds: How long to wait.
        work: What to do; its thread is left alone if it takes longer, and ends with the process.

    Returns:
        What the work returned.

    Raises:
        TooLongError: The work has not ended in time.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def keep() -> None:
        try:
            answers.append(work())
        except BaseException as error:  # raised where it is waited for
            errors.append(error)

    thread = threading.Thread(target=keep, name="embedlake-doctor", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TooLongError
    return answers[0]


def within_or(seconds: float, work: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Does work as `within` does, and returns something else if it takes too long."""
    try:
        return within(seconds, work)
    except TooLongError:
        return otherwise
