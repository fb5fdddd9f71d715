"""A stage in a thread: the same items in order, bounded, and no thread that outlives its consumer."""

import threading
import time
from collections.abc import Iterator

import pytest

from udfs.inference.prefetch import prefetch

pytestmark = pytest.mark.timeout(20)


def stages() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "embedlake-stage"]


def numbers(count: int, seen: list[str]) -> Iterator[int]:
    try:
        for number in range(count):
            seen.append(f"made {number} in {threading.current_thread().name}")
            yield number
    finally:
        seen.append("closed")


@pytest.mark.parametrize("count", [0, 1, 5, 500])
@pytest.mark.parametrize("depth", [1, 3])
def test_items_come_in_order_from_another_thread(count: int, depth: int) -> None:
    seen: list[str] = []
    assert list(prefetch(numbers(count, seen), depth)) == list(range(count))
    assert seen == [*(f"made {number} in embedlake-stage" for number in range(count)), "closed"]
    assert stages() == []


def test_nothing_is_produced_before_it_is_asked_for() -> None:
    seen: list[str] = []
    stage = prefetch(numbers(5, seen), 1)
    time.sleep(0.05)
    assert seen == []
    stage.close()
    assert stages() == []


def test_no_more_than_depth_items_are_produced_ahead() -> None:
    seen: list[str] = []
    stage = prefetch(numbers(100, seen), 2)
    next(stage)
    deadline = time.monotonic() + 2
    while len(seen) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(seen) == 4, "one is taken, two wait, one is in the thread's hand"
    stage.close()


def test_closing_ends_the_thread_and_closes_the_source() -> None:
    seen: list[str] = []
    stage = prefetch(prefetch(numbers(10**9, seen), 1), 1)
    assert next(stage) == 0
    assert len(stages()) == 2
    stage.close()
    assert seen[-1] == "closed"
    assert stages() == []


def test_an_error_is_raised_in_place_of_its_item() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    stage = prefetch(failing(), 3)
    assert next(stage) == 1
    with pytest.raises(KeyError, match="two"):
        next(stage)
    assert stages() == []


def test_any_iterator_can_be_prefetched() -> None:
    assert list(prefetch(iter([1, 2]), 1)) == [1, 2]


def test_the_time_spent_waiting_is_reported() -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.02)
            yield number

    waited: list[float] = []
    list(prefetch(slow(), 1, waited.append))
    assert len(waited) == 4, "three items and the end"
    assert sum(waited) > 0.03
