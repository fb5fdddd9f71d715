"""A question asked beside others: a session that is cold answers two at a time in little more than the time of one."""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from pyspark import inheritable_thread_target
from pyspark.sql import SparkSession

Found = TypeVar("Found")


def beside(spark: SparkSession, question: Callable[[], Found]) -> Callable[[], Found]:
    """Begins a question in a thread of its own, which a run that is stopped does not wait for.

    Args:
        spark: The live session, classic or Connect.
        question: What to ask; it shares no state with what runs meanwhile.

    Returns:
        A function that waits for the answer, and raises what the question raised.
    """
    answers: list[Found] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(question())
        except BaseException as error:  # raised where the answer is waited for
            errors.append(error)

    # Tags and properties of the session's thread reach the other one only this way.
    thread = threading.Thread(target=inheritable_thread_target(spark)(ask), name="embedlake-beside", daemon=True)
    thread.start()

    def answer() -> Found:
        thread.join()
        if errors:
            raise errors[0]
        return answers[0]

    return answer


def together(spark: SparkSession, questions: Iterable[Callable[[], object]]) -> None:
    """Does several things at the same time; none is still at work when this returns or raises.

    Args:
        spark: The live session, classic or Connect.
        questions: What to do; they share no state.

    Raises:
        BaseException: What the first of them raised, in their order.
    """
    errors: list[BaseException] = []
    for answer in [beside(spark, question) for question in questions]:
        try:
            answer()
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]
