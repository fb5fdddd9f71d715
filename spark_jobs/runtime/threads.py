"""Runs queries at the same time: a cold session answers two in little more than the time of one."""

import signal
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from pyspark import inheritable_thread_target
from pyspark.sql import SparkSession

from schemas.errors import StoppedError

Answer = TypeVar("Answer")
_POLL_SECONDS = 0.1


def beside(spark: SparkSession, question: Callable[[], Answer]) -> Callable[[], Answer]:
    """Starts a question in its own thread; a run that is stopped does not wait for it.

    Args:
        spark: The live session, classic or Connect.
        question: Must not share state with anything that runs meanwhile.

    Returns:
        A function that waits for the answer, and raises what the question raised.
    """
    # Passes the tags and properties of the session's thread on to the new one.
    return aside(inheritable_thread_target(spark)(question))


def aside(work: Callable[[], Answer], is_awaited: bool = False) -> Callable[[], Answer]:
    """Starts work that needs no session in its own thread.

    Args:
        work: Must not share state with anything that runs meanwhile.
        is_awaited: Whether the process ends only after the work; otherwise its end cuts it short.

    Returns:
        A function that waits for the result, and raises what the work raised; it can be called again.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def keep() -> None:
        try:
            answers.append(work())
        except BaseException as error:  # raised when the caller waits for the answer
            errors.append(error)

    thread = threading.Thread(target=keep, name="embedlake-beside", daemon=not is_awaited)
    thread.start()

    def answer() -> Answer:
        thread.join()
        if errors:
            raise errors[0]
        return answers[0]

    return answer


def stoppable(spark: SparkSession, question: Callable[[], Answer]) -> Answer:
    """Asks a question that Ctrl-C ends without breaking the session.

    An interrupt in the middle of a call would break the connection to Java, so the call is made in another thread.
    Nothing else may be at work in the session: all of its jobs are cancelled. A tag would not do, because a classic
    session knows the tags of the calling thread alone.

    Args:
        spark: The live session, classic or Connect.
        question: What to ask.

    Returns:
        The answer.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed. The question's Spark jobs are cancelled, and it is no longer running; or
            it was pressed again meanwhile, which raises StoppedError.
    """
    is_over = threading.Event()

    def ask() -> Answer:
        try:
            return question()
        finally:
            is_over.set()

    answer = beside(spark, ask)
    try:
        return answer()
    except KeyboardInterrupt:
        _cancel(spark, is_over)
        raise


def _cancel(spark: SparkSession, is_over: threading.Event) -> None:
    try:
        # Again and again, because its next job may start only now.
        while not is_over.wait(_POLL_SECONDS):
            spark.interruptAll()
    except KeyboardInterrupt as error:
        raise StoppedError(signal.SIGINT) from error


def together(spark: SparkSession, questions: Iterable[Callable[[], object]]) -> None:
    """Asks several questions at the same time; none is still running when this returns or raises.

    Args:
        spark: The live session, classic or Connect.
        questions: What to ask; they must not share state.

    Raises:
        BaseException: The error of the first question, in the given order, that failed.
    """
    errors: list[BaseException] = []
    for answer in [beside(spark, question) for question in questions]:
        try:
            answer()
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]
