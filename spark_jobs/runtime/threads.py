"""Runs queries at the same time: a cold session answers two in little more than the time of one."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from pyspark import inheritable_thread_target
from pyspark.sql import SparkSession

from schemas.errors import StoppedError
from spark_jobs.runtime.signals import interruption_of

Answer = TypeVar("Answer")
_POLL_SECONDS = 0.1
# Spark's scheduler pool for what runs behind a longer job.
_POOL = "embedlake-behind"


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
        _cancel(spark.interruptAll, is_over)
        raise


def _cancel(interrupt: Callable[[], object], is_over: threading.Event) -> None:
    try:
        # Again and again, because its next job may start only now.
        while not is_over.wait(_POLL_SECONDS):
            interrupt()
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


@contextmanager
def one_behind(spark: SparkSession, tag: str) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Does pieces of work in another thread while the block goes on: one at a time, in the order given.

    None is still running when the block has been left, however that happens. If the block fails, the piece in progress
    is finished; if it is interrupted, the piece is cancelled. If a piece fails, the job that the block waits for is
    cancelled, because its work would be for nothing.

    Args:
        spark: The live session, classic or Connect.
        tag: Tag of the pieces' jobs, by which they are cancelled; no other work has it.

    Yields:
        A function that takes the next piece. It waits for the piece before, and raises what that one raised; so does
        the end of the block.
    """
    behind: list[tuple[Callable[[], None], threading.Event]] = []
    failures: list[BaseException] = []
    of_block = f"{tag} waited for"

    def settle() -> None:
        for answer, _ in behind:
            answer()
        behind.clear()

    def noted(work: Callable[[], None], is_over: threading.Event) -> None:
        try:
            _put_behind(spark, tag)
            work()
        except BaseException as error:
            failures.append(error)
            _interrupt(spark, of_block)
            raise
        finally:
            is_over.set()

    def hand_over(work: Callable[[], None]) -> None:
        settle()
        is_over = threading.Event()
        behind.append((beside(spark, partial(noted, work, is_over)), is_over))

    _add_tag(spark, of_block)
    try:
        yield hand_over
        settle()
    except BaseException as error:
        causes = [] if interruption_of(error) else failures[:1]
        _end_of(error, behind, lambda: _interrupt(spark, tag))
        if causes:
            # What the block raised, if not the same, came of its cancelled job.
            raise causes[0] from None
        raise
    finally:
        _remove_tag(spark, of_block)


def _put_behind(spark: SparkSession, tag: str) -> None:
    _add_tag(spark, tag)
    if hasattr(spark, "_jsparkSession"):
        # Where pools share the cluster fairly, this one gets the next free slot. Otherwise all tasks of a job that
        # began earlier would come first.
        spark.sparkContext.setLocalProperty("spark.scheduler.pool", _POOL)


def _add_tag(spark: SparkSession, tag: str) -> None:
    # A classic session knows the tags of the calling thread alone; its context knows those of all.
    spark.sparkContext.addJobTag(tag) if hasattr(spark, "_jsparkSession") else spark.addTag(tag)


def _remove_tag(spark: SparkSession, tag: str) -> None:
    # A session that has died has no tags either.
    with suppress(Exception):
        spark.sparkContext.removeJobTag(tag) if hasattr(spark, "_jsparkSession") else spark.removeTag(tag)


def _interrupt(spark: SparkSession, tag: str) -> None:
    spark.sparkContext.cancelJobsWithTag(tag) if hasattr(spark, "_jsparkSession") else spark.interruptTag(tag)


def _end_of(
    error: BaseException, behind: list[tuple[Callable[[], None], threading.Event]], interrupt: Callable[[], object]
) -> None:
    for answer, is_over in behind:
        try:
            if interruption_of(error) is None:
                # Its own error, if any, comes second.
                with suppress(Exception):
                    answer()
        finally:
            # Also if an interrupt comes only now.
            _cancel(interrupt, is_over)
