"""Progress of a job: what happens goes to observers and, as text, to a console."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from rich.console import Console

from spark_jobs.runtime.events import Event, Observer
from spark_jobs.runtime.figures import Figures
from spark_jobs.runtime.live_display import LiveDisplay
from spark_jobs.runtime.tasks import share_done, token_counts, watch_tasks


@dataclass
class Progress:
    """Times each step of a job and tells what happens. It knows numbers and text, but not what they count.

    Attributes:
        console: Where to show it as text, live if that is a terminal; None shows nothing.
        observers: Who else is told of each event.
        about: Where things happen: library, space, run, slice; part of each event.
        seconds: Wall-clock seconds by step, in order of first use.
        figures: How far the job is.
        is_behind: Whether its steps run behind others, which people wait for.
    """

    console: Console | None = None
    observers: tuple[Observer, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    is_behind: bool = False
    _display: LiveDisplay | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times and tells a step."""
        start = time.monotonic()
        # People read of the steps that they wait for.
        self.tell("step_started", {"step": name}, "" if self.is_behind else name)
        outcome = "failed"
        try:
            yield
            outcome = "finished"
        finally:
            seconds = time.monotonic() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
            self.tell("step_ended", {"step": name, "seconds": round(seconds, 3), "outcome": outcome})

    def say(self, text: str) -> None:
        """Tells something in words."""
        self.tell("note", {"message": text}, text)

    def warn(self, text: str) -> None:
        """Tells what somebody should look at."""
        self._tell(Event("warning", {"message": text}, f"warning: {text}", "warning"))

    def tell(self, name: str, values: Mapping[str, Any], text: str = "") -> None:
        """Tells what happened, to people too if there is a text."""
        self._tell(Event(name, values, text))

    def know(self, **about: Any) -> None:
        """Adds to what every event says from now on."""
        self.about.update(about)

    def expect(self, total: int, documents: int = 0) -> None:
        """Sets the tokens and documents of the job, of which nothing is done yet."""
        figures = self.figures
        figures.total, figures.all_documents, figures.done = max(1, total), documents, 0
        figures.slice_from = figures.slice_number = 0
        figures.begun = time.monotonic()

    def of_slice(self, number: int, before: int, tokens: int, documents: int) -> "Progress":
        """Begins a slice, and returns what tells of it.

        Args:
            number: Number of the slice, from 1.
            before: Tokens of the slices before.
            tokens: Its own tokens.
            documents: Its documents.

        Returns:
            The same progress, with the slice's number in each event.
        """
        figures = self.figures
        figures.slice_number, figures.slice_from, figures.slice_tokens = number, before, tokens
        shown = replace(self, about={**self.about, "slice": number})
        shown.tell("slice_started", {"documents": documents, "tokens": tokens})
        return shown

    def behind(self) -> "Progress":
        """Returns what tells of steps that run behind those that people wait for."""
        return replace(self, is_behind=True)

    def advance(self, done: int, documents: int, chunks: int, failed: int) -> None:
        """Sets what is committed: tokens in the unit of `expect`, documents, chunks, texts without a vector."""
        self.figures.draw(done)
        self.figures.documents, self.figures.chunks, self.figures.failed = documents, chunks, failed

    @contextmanager
    def watching(self, spark: SparkSession, tasks: int, amount: int, expected: int = 0) -> Iterator[Path | None]:
        """Moves the bar while the tasks of one Spark job are at work.

        Args:
            spark: The live session.
            tasks: Number of tasks in the job.
            amount: Work of all tasks together, in the unit of `expect`.
            expected: Tokens that its tasks will count; 0 if unknown.

        Yields:
            File in which tasks count their tokens; None if nobody watches or workers may be elsewhere.
        """
        if self._display is None:
            yield None
            return
        figures = self.figures
        start = figures.slice_from
        with token_counts(spark, tasks) as counts:

            def move(finished: int) -> None:
                figures.draw(start + amount * share_done(counts, finished, tasks, expected))

            with watch_tasks(spark, tasks, move):
                yield counts
        figures.draw(start + amount)

    @contextmanager
    def live(self) -> Iterator["Progress"]:
        """Tells when a job begins and ends, and draws how far it is if the console is a terminal."""
        self.tell("job_started", {})
        outcome = "failed"
        try:
            if self.console is None or not self.console.is_terminal:
                yield self
            else:
                with LiveDisplay(self.console, self.figures) as self._display:
                    yield self
            outcome = "finished"
        finally:
            self._display = None
            self.tell("job_ended", {"outcome": outcome, "seconds": round(self.figures.seconds, 3)})

    def _tell(self, event: Event) -> None:
        event = event.within(self.about)
        for observer in self.observers:
            observer(event)
        if self._display is not None:
            self._display.show(event)
        elif self.console is not None and event.text:
            line = f"{time.strftime('%H:%M:%S')} {event.text}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
