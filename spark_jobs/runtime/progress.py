"""Progress of a job: one live line on a terminal, one line per step elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_TASK_POLL_SECONDS = 0.5


@dataclass
class Progress:
    """Times each step of a job and shows how far along it is. It knows numbers and text, but not what they count.

    Attributes:
        console: Where to show it; None shows nothing.
        seconds: Wall-clock seconds by step, in order of first use.
    """

    console: Console | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    _bar: Bar | None = None
    _state: str = ""
    _begun: int = 0
    _drawn: int = 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times and shows a step."""
        start = time.monotonic()
        if self._bar is None:
            self.say(name)
        else:
            self._bar.update(self._bar.task_ids[0], description=f"{name} · {self._state}" if self._state else name)
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    def say(self, text: str) -> None:
        """Prints one line, with the time of day."""
        if self.console is not None:
            self.console.print(f"{time.strftime('%H:%M:%S')} {text}", highlight=False, markup=False, soft_wrap=True)

    def expect(self, total: int) -> None:
        """Sets the total, in the unit of `advance`, of which nothing is done yet."""
        self._begun = self._drawn = 0
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=max(1, total))

    def begin(self, begun: int) -> None:
        """Sets where `watching` moves the bar from, in the unit of `advance`: what comes before the next job."""
        self._begun = begun

    def advance(self, done: int, state: str) -> None:
        """Moves the bar to what is done so far, and shows a state next to the steps from now on."""
        self._state = state
        self._draw(done)

    @contextmanager
    def watching(self, spark: SparkSession, tasks: int, amount: int) -> Iterator[None]:
        """Moves the bar while the tasks of one Spark job finish.

        Args:
            spark: The live session.
            tasks: Number of tasks in the job.
            amount: Work of all tasks together, in the unit of `advance`.
        """
        if self._bar is None:
            yield
            return
        with watch_tasks(spark, tasks, lambda finished: self._draw(self._begun + amount * finished // tasks)):
            yield

    @contextmanager
    def live(self) -> Iterator["Progress"]:
        """Draws a moving line during a block if the console is a terminal."""
        if self.console is None or not self.console.is_terminal:
            yield self
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
        )
        with Bar(*columns, TimeRemainingColumn(), console=self.console, transient=True) as self._bar:
            self._bar.add_task("starting", total=None)
            yield self
        self._bar = None

    def _draw(self, done: int) -> None:
        # What is embedded is ahead of what is committed; the bar does not go back.
        self._drawn = max(self._drawn, done)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._drawn)


@contextmanager
def watch_tasks(spark: SparkSession, tasks: int, report: Callable[[int], None]) -> Iterator[None]:
    """Follows a stage that runs in the block.

    Args:
        spark: The live session, classic or Connect.
        tasks: Number of tasks in the stage, which identifies it.
        report: Called with the number of finished tasks, from another thread.
    """
    if hasattr(spark, "addProgressHandler") and not hasattr(spark, "_jsparkSession"):
        handler: Any = _connect_handler(tasks, report)
        spark.addProgressHandler(handler)
        try:
            yield
        finally:
            spark.removeProgressHandler(handler)
        return
    stop = threading.Event()
    thread = threading.Thread(target=_poll, args=(spark, tasks, report, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _connect_handler(tasks: int, report: Callable[[int], None]) -> Callable[..., None]:
    def handle(stages: Any, **_: object) -> None:
        for stage in stages or ():
            if stage.num_tasks == tasks:
                report(stage.num_completed_tasks)

    return handle


def _poll(spark: SparkSession, tasks: int, report: Callable[[int], None], stop: threading.Event) -> None:
    tracker = spark.sparkContext.statusTracker()
    while not stop.wait(_TASK_POLL_SECONDS):
        for number in tracker.getActiveStageIds():
            stage = tracker.getStageInfo(number)
            if stage is not None and stage.numTasks == tasks:
                report(stage.numCompletedTasks)
