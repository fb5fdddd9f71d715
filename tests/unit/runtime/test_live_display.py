"""What a run looks like on a terminal: while it goes on, when it has ended, and on one that is narrow."""

import re
import time
from collections.abc import Callable

import pytest

from spark_jobs.runtime.live_display import LiveDisplay
from spark_jobs.runtime.progress import Progress
from tests.support.screen import Screen

Move = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Move:
    """Moves the time of runs on by so many seconds."""
    now = [1000.0]
    monkeypatch.setattr("spark_jobs.runtime.figures.time.monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def a_run(screen: Screen, move: Move, look: Callable[[], None]) -> None:
    """A run of two slices of 6,000 and 4,000 tokens; `look` is called half-way through the second one."""
    progress = Progress(screen.console)
    progress.figures.started = time.monotonic()
    with progress.live():
        progress.figures.per_hour, progress.figures.currency = 360, "EUR"
        with progress.step("session"):
            move(5.4)
        progress.tell("plan", {}, "plan: 30 added")
        progress.expect(10_000, documents=30)
        first = progress.of_slice(1, 0, 6_000, 20)
        with first.step("embed"):
            move(60)
            progress.figures.draw(6_000)
        second = progress.of_slice(2, 6_000, 4_000, 10)
        with first.behind().step("merge vectors"):
            move(10)
        first.advance(6_000, 20, 25, 1)
        first.tell("slice_committed", {}, "slice 1 committed: 20 documents")
        with second.step("embed"):
            move(10)
            progress.figures.draw(8_000)
            look()
            move(20)
        second.advance(10_000, 30, 37, 3)
        second.tell("slice_committed", {}, "slice 2 committed: 30 documents")
        with progress.step("reconcile"):
            move(3)


def frame(screen: Screen) -> list[str]:
    """The lines of the display after it has drawn itself."""
    # Live draws in a thread of its own, five times a second.
    time.sleep(0.6)
    return screen.lines()


@pytest.mark.parametrize(
    ("width", "figures"),
    [
        (
            80,
            [
                "  8,000 of about 10,000 tokens · 100 tokens/s · 20 of 30 documents · 25 chunks",
                "  1 text quarantined · 8.54 EUR",
            ],
        ),
        (
            200,
            [
                "  8,000 of about 10,000 tokens · 100 tokens/s · 20 of 30 documents · 25 chunks · 1 text quarantined · "
                "8.54 EUR"
            ],
        ),
    ],
)
def test_a_run_shows_where_it_is(clock: Move, width: int, figures: list[str]) -> None:
    screen, seen = Screen(width), list[list[str]]()
    a_run(screen, clock, lambda: seen.append(frame(screen)))
    lines = seen[0]
    step, of_slice, of_run = lines[-3 - len(figures) : -len(figures)]
    assert re.fullmatch(r". embed 10 s", step)
    assert re.fullmatch(r"  slice 2  ━+.?━*  50%", of_slice)
    # 8,000 tokens took 80 seconds, so 2,000 take 20.
    assert re.fullmatch(r"  run      ━+.?━*  80% · 20 s left", of_run)
    assert lines[-len(figures) :] == figures
    assert all(len(line) < width for line in lines[-3 - len(figures) :])


def test_what_is_finished_stays_and_ends_at_a_hundred_percent(clock: Move) -> None:
    screen = Screen(120)
    a_run(screen, clock, lambda: None)
    lines = screen.lines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert [line[9:] for line in lines] == [
        "session           5.4 s",
        "plan: 30 added",
        "slice 1          70.0 s  20 documents · 25 chunks · embed 60.0 · merge vectors 10.0",
        "slice 2          30.0 s  30 documents · 37 chunks · embed 30.0",
        "reconcile         3.0 s",
        "━━━━━━━━━━━━━━━━━━━━ 100% · 108 s · 30 documents · 37 chunks · 3 texts quarantined · 10.84 EUR",
    ]


def test_a_run_that_fails_leaves_where_it_was(clock: Move) -> None:
    screen = Screen(120)

    def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        a_run(screen, clock, fail)
    assert screen.lines()[-1][9:].startswith("━━━━━━━━━━━━━━━━ 80% · 85 s · 20 documents")


@pytest.mark.parametrize("width", [12, 25, 40])
def test_a_narrow_terminal_is_enough(clock: Move, width: int) -> None:
    screen, seen = Screen(width, 200), list[list[str]]()
    a_run(screen, clock, lambda: seen.append(frame(screen)))
    drawn = seen[0][next(i for i, line in enumerate(seen[0]) if "embed 10" in line) :]
    # A line that wraps would be drawn again below itself.
    assert 4 <= len(drawn) <= 6
    text = " ".join(screen.lines())
    assert "⠋" not in text and ("100%" in text or width < 25)
    assert sum("rec" in line for line in screen.lines()) == 1


def test_a_terminal_that_is_resized_keeps_what_is_finished(clock: Move) -> None:
    screen = Screen(120)

    def shrink() -> None:
        frame(screen)
        screen.resize(50)
        assert all(len(line) < 50 for line in frame(screen)[-4:])
        screen.resize(100)
        frame(screen)

    a_run(screen, clock, shrink)
    text = "\n".join(screen.lines())
    assert [text.count(part) for part in ("session", "plan: 30", "slice 1 ", "slice 2 ", "100%")] == [1, 1, 1, 1, 1]


def test_it_does_not_flicker(clock: Move) -> None:
    screen = Screen(80)
    a_run(screen, clock, lambda: frame(screen) and None)
    frames = [text for text in screen.writes if "of about" in text]
    assert len(frames) > 2
    # Each frame is one write, over the one before, and the screen is never cleared.
    assert all("run" in text and "chunks" in text for text in frames)
    assert not any("\x1b[2J" in text or "\x1b[H" in text for text in screen.writes)
    assert screen.writes[0].startswith("\x1b[?25l") or "\x1b[?25l" in "".join(screen.writes[:3])
    assert "\x1b[?25h" in "".join(screen.writes[-8:])


def test_a_bar_never_goes_back_and_is_full_at_the_end_only(clock: Move) -> None:
    screen = Screen(80)
    progress = Progress(screen.console)
    with LiveDisplay(screen.console, progress.figures):
        progress.expect(1_000, 1)
        clock(1)
        for done in (10, 500, 400, 999):
            progress.figures.draw(done)
            assert progress.figures.done == max(500 if done == 400 else done, 10)
        lines = frame(screen)
    assert "99%" in " ".join(lines) and "100%" not in " ".join(lines)
