"""Runs queries at the same time: a cold session answers two in little more than the time of one."""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from pyspark import inheritable_thread_target
from pyspark.sql import SparkSession

Answer = TypeVar("Answer")


def beside(spark: SparkSession, question: Callable[[], Answer]) -> Callable[[], Answer]:
    """Starts a question in its own thread; a run that is stopped does not wait for it.

    Args:
        spark: The live session, classic or Connect.
        question: Must not share state with anything that runs meanwhile.

    Returns:
        A function that waits for the answer, and raises what the question raised.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(question())
        except BaseException as error:  # raised when the caller waits for the answer
            errors.append(error)

    # Passes the tags and properties of the session's thread on to the new one.
    thread = threading.Thread(target=inheritable_thread_target(spark)(ask), name="embedlake-beside", daemon=True)
    thread.start()

    def answer() -> Answer:
        thread.join()
        if errors:
            raise errors[0]
        return answers[0]

    return answer


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
