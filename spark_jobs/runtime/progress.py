"""What a person sees while a run works: one live line on a terminal, one line a step elsewhere."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import SpinnerColumn
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn
from rich.progress import Progress as Bar
from schemas.plan import CHANGE_WORDS
from spark_jobs.embedding.report import InferenceSummary
from spark_jobs.embedding.slicing import Slice
from spark_jobs.embedding.slicing import Work
import threading
from collections.abc import Callable
from typing import Any

_SLICE_STEPS = ("chunk", "reuse", "embed", "merge vectors", "merge ledger")

_TASK_POLL_SECONDS = 0.5


@dataclass
class Progress:
    """Keeps the time of each step and shows how far a run is.

    Attributes:
        console: Where it is shown; None shows nothing.
        seconds: Wall-clock seconds by step, in order of first use.
        inference: What the model took so far.
    """

    console: Console | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    inference: InferenceSummary = field(default_factory=InferenceSummary)
    _bar: Bar | None = None
    _tokens: int = 0
    _done: int = 0
    _embedded: int = 0
    _chunks: int = 0
    _documents: int = 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times a step.

        Args:
            name: What it does.
        """
        start = time.monotonic()
        self._show(name)
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    @property
    def slice_seconds(self) -> float:
        """Seconds that went into slices."""
        return sum(self.seconds.get(step, 0.0) for step in _SLICE_STEPS)

    @property
    def tokens_per_second(self) -> float:
        """Tokens embedded in the slices that are in, by the seconds that took; 0 before the first."""
        return self._embedded / self.seconds["embed"] if self.seconds.get("embed") else 0.0

    def planned(self, work: Work) -> None:
        """Says what lies ahead.

        Args:
            work: What the run has to do.
        """
        self._tokens = work.tokens
        documents = " · ".join(f"{work.documents[change]:,} {words}" for change, words in CHANGE_WORDS.items())
        self._line(f"plan: {documents} · about {work.tokens:,} tokens · by {work.how}")
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=max(1, work.tokens))

    @contextmanager
    def watching(self, spark: SparkSession, part: Slice, partitions: int) -> Iterator[None]:
        """Follows the tasks of a slice's inference.

        Args:
            spark: The live session.
            part: The slice.
            partitions: Tasks that its inference has.
        """

        def advance(finished: int) -> None:
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self._done + part.tokens * finished // partitions)

        if self._bar is None:
            yield
            return
        with watch_tasks(spark, partitions, advance):
            yield

    def committed(self, part: Slice, counts: Counter[str]) -> None:
        """Says that a slice is in.

        Args:
            part: The slice.
            counts: What it counted.
        """
        self._done += part.tokens
        self._chunks += counts["chunks"]
        self._documents += part.documents
        self._embedded += counts["tokens_embedded"]
        rate = self.tokens_per_second
        left = (self._tokens - self._done) / rate if rate else 0
        self._line(
            f"slice {part.number} committed: {self._documents:,} documents · {self._chunks:,} chunks · "
            f"{self._done:,} of about {self._tokens:,} tokens · {rate:,.0f} tokens/s · {left:,.0f} s left"
        )

    @contextmanager
    def live(self) -> Iterator["Progress"]:
        """Draws a moving line where the console is a terminal.

        Yields:
            This progress.
        """
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

    def _show(self, name: str) -> None:
        if self._bar is None:
            self._line(name)
            return
        seen = (
            f"{name} · {self._documents:,} documents · {self._chunks:,} chunks · {self._done:,}/{self._tokens:,} tokens"
        )
        self._bar.update(self._bar.task_ids[0], description=seen if self._tokens else name)

    def _line(self, text: str) -> None:
        if self.console is not None:
            self.console.print(f"{time.strftime('%H:%M:%S')} {text}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def watch_tasks(spark: SparkSession, tasks: int, report: Callable[[int], None]) -> Iterator[None]:
    """Follows the running stage that has a given number of tasks.

    Args:
        spark: The live session.
        tasks: Tasks of the stage.
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
