"""No change of a file is missed: a model of a file system whose clock ticks slowly, and of listings in between."""

import os
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from udfs.file_times import MARGIN_SECONDS, is_racy, microseconds

SECOND = 1_000_000


@dataclass
class Folder:
    """One file of a file system; what a run recorded of it, and whether it would read it again."""

    tick: int
    behind: int
    now: int = 1_000 * SECOND
    content: int = 0
    modified: int = 0
    recorded: tuple[int, int, bool] | None = None

    def write(self, content: int) -> None:
        self.content = content
        self.modified = (self.now - self.behind) // self.tick * self.tick

    def refresh(self) -> None:
        if self.recorded is None or self.recorded[1] != self.modified or self.recorded[2]:
            self.recorded = (self.content, self.modified, is_racy(self.modified, self.now))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 20 * SECOND)),
        st.tuples(st.just("refresh"), st.just(0)),
    ),
    max_size=30,
)


@given(tick=st.sampled_from([1, 1_000, SECOND, 2 * SECOND]), behind=st.integers(0, 7 * SECOND), steps=STEPS)
def test_no_change_is_missed_whatever_the_clock_and_the_order(
    tick: int, behind: int, steps: list[tuple[str, int]]
) -> None:
    folder = Folder(tick, behind)
    folder.write(0)
    for step, value in [*steps, ("refresh", 0)]:
        if step == "write":
            folder.write(value)
        elif step == "wait":
            folder.now += value
        else:
            folder.refresh()
            assert folder.recorded is not None and folder.recorded[0] == folder.content


def test_a_file_is_safe_once_it_is_older_than_the_margin() -> None:
    assert not is_racy(0, MARGIN_SECONDS * SECOND + 1)
    assert is_racy(0, MARGIN_SECONDS * SECOND)
    assert is_racy(5, 0)


def test_times_that_no_timestamp_holds_are_those_at_its_ends(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "a")
    open(path, "w").close()
    os.utime(path, ns=(0, 1_500_000_123_456_789))
    assert microseconds(os.stat(path)) == 1_500_000_123_456

    def told(nanoseconds: int) -> int:
        values = [0] * 10
        return microseconds(os.stat_result(values, {"st_mtime_ns": nanoseconds}))

    assert told(10**21) == 253_402_300_799 * SECOND
    assert told(-(10**21)) == -62_135_596_800 * SECOND
