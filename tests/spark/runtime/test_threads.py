"""A query that runs at the same time as others in a live session, or until Ctrl-C."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import pytest
from pyspark.sql import SparkSession

from spark_jobs.runtime.threads import beside, one_behind, stoppable, together

pytestmark = pytest.mark.spark


def test_two_questions_at_the_same_time(spark: SparkSession) -> None:
    gone_on = threading.Event()

    def ask() -> int:
        assert gone_on.wait(30)
        return spark.range(5).count()

    answer = beside(spark, ask)
    gone_on.set()
    assert answer() == 5


def test_what_the_question_raised_comes_with_the_answer(spark: SparkSession) -> None:
    def ask() -> NoReturn:
        raise KeyError("no such thing")

    answer = beside(spark, ask)
    with pytest.raises(KeyError, match="no such thing"):
        answer()


def test_when_one_of_several_fails_the_others_are_finished_first(spark: SparkSession) -> None:
    done: list[str] = []

    def fail() -> NoReturn:
        raise KeyError("no such thing")

    def slow() -> None:
        time.sleep(0.5)
        done.append("slow")

    with pytest.raises(KeyError, match="no such thing"):
        together(spark, [fail, slow])
    assert done == ["slow"]


@pytest.fixture
def plain_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def sleep_in_a_job(spark: SparkSession, seconds: int) -> None:
    spark.sql(f"select reflect('java.lang.Thread', 'sleep', {seconds * 1000}L) from range(0, 1, 1, 1)").collect()


def work_long(spark: SparkSession, ended: list[str]) -> None:
    """Notes how its job ended."""
    try:
        sleep_in_a_job(spark, 60)
        ended.append("by itself")
    except Exception:
        ended.append("cancelled")


def wait_for_a_job(spark: SparkSession) -> None:
    while not spark.sparkContext.statusTracker().getActiveJobsIds():
        time.sleep(0.05)


def press_ctrl_c(spark: SparkSession) -> None:
    """Interrupts the main thread once a job is at work."""
    wait_for_a_job(spark)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("plain_interrupts")
def test_ctrl_c_cancels_a_question_and_leaves_the_session(spark: SparkSession) -> None:
    ended: list[str] = []
    threading.Thread(target=press_ctrl_c, args=(spark,)).start()
    with pytest.raises(KeyboardInterrupt):
        stoppable(spark, lambda: work_long(spark, ended))
    assert ended == ["cancelled"]
    assert stoppable(spark, spark.range(5).count) == 5


def test_work_behind_is_done_piece_by_piece_while_the_block_goes_on(spark: SparkSession) -> None:
    begun, gone_on, done = threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        begun.set()
        assert gone_on.wait(30)
        time.sleep(0.5)
        done.append("first")

    with one_behind(spark, "tag") as hand_over:
        hand_over(first)
        # The block is here while the first piece waits for it.
        assert begun.wait(30)
        gone_on.set()
        hand_over(lambda: done.append("second"))
        assert "first" in done
        hand_over(lambda: done.append("third"))
    assert done == ["first", "second", "third"]


@pytest.mark.parametrize("is_last", [False, True])
def test_work_behind_that_fails_ends_the_block(spark: SparkSession, is_last: bool) -> None:
    done: list[str] = []

    def fail() -> NoReturn:
        raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing"), one_behind(spark, "tag") as hand_over:
        hand_over(fail)
        if not is_last:
            hand_over(lambda: done.append("second"))
    assert done == []


def test_work_behind_that_fails_cancels_what_the_block_waits_for(spark: SparkSession) -> None:
    def fail() -> NoReturn:
        wait_for_a_job(spark)
        raise KeyError("no such thing")

    began = time.monotonic()
    with pytest.raises(KeyError, match="no such thing"), one_behind(spark, "tag") as hand_over:
        hand_over(fail)
        sleep_in_a_job(spark, 60)
    assert time.monotonic() - began < 50
    assert spark.range(5).count() == 5


def test_work_behind_is_finished_when_the_block_fails(spark: SparkSession) -> None:
    done: list[str] = []

    def slow() -> None:
        sleep_in_a_job(spark, 1)
        done.append("slow")
        raise ValueError("comes second")

    with pytest.raises(KeyError, match="no such thing"), one_behind(spark, "tag") as hand_over:
        hand_over(slow)
        raise KeyError("no such thing")
    assert done == ["slow"]


@pytest.mark.usefixtures("plain_interrupts")
@pytest.mark.parametrize("when", ["in the block", "at its end"])
def test_ctrl_c_cancels_the_work_behind(spark: SparkSession, when: str) -> None:
    ended: list[str] = []
    with pytest.raises(KeyboardInterrupt), one_behind(spark, "work") as hand_over:
        hand_over(lambda: work_long(spark, ended))
        threading.Thread(target=press_ctrl_c, args=(spark,)).start()
        if when == "in the block":
            time.sleep(60)
    assert ended == ["cancelled"]
    assert spark.range(5).count() == 5
