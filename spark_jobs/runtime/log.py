"""The log of a command on standard error: lines of text for people, or one JSON object a line for machines."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Literal

import typer
from rich.console import Console

from spark_jobs.runtime.events import Event, Observer
from spark_jobs.runtime.json_text import json_text
from spark_jobs.runtime.progress import Progress

LogFormat = Literal["text", "json"]

_LOCK = Lock()


@dataclass
class Log:
    """Where a command tells what happens.

    Attributes:
        format: How it is written.
        observers: Who else is told of each event.
        about: Library and space, as far as the command has one; part of each event.
    """

    format: LogFormat = "text"
    observers: tuple[Observer, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    def tell(self, event: Event) -> None:
        """Writes an event, and tells observers of it."""
        event = event.within(self.about)
        for observer in self.observers:
            observer(event)
        if self.format == "json":
            write_json(event)
        elif event.text:
            typer.echo(event.text, err=True)

    def warn(self, message: str) -> None:
        """Tells what somebody should look at."""
        self.tell(Event("warning", {"message": message}, f"embedlake: {message}", "warning"))

    def progress(self, is_silent: bool = False) -> Progress:
        """Makes the progress of a job.

        Args:
            is_silent: Whether lines for people are left out where nobody watches a terminal.

        Returns:
            What tells of its steps.
        """
        if self.format == "json":
            return Progress(observers=(*self.observers, write_json), about=dict(self.about))
        console = Console(stderr=True)
        is_shown = console.is_terminal or not is_silent
        return Progress(console if is_shown else None, self.observers, dict(self.about))


_current: ContextVar[Log | None] = ContextVar("log", default=None)


def current_log() -> Log:
    """Returns the log of the command that runs; text where none does."""
    return _current.get() or Log()


@contextmanager
def logged(form: LogFormat) -> Iterator[Log]:
    """Makes a log the one of a command, as long as the block lasts."""
    log = Log(form)
    token = _current.set(log)
    try:
        yield log
    finally:
        _current.reset(token)


def write_json(event: Event) -> None:
    """Writes an event on standard error, as one line of JSON."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = json_text({"time": now, "level": event.level, "event": event.name, **event.values})
    with _LOCK:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
