"""Tokens that tasks have embedded so far, in a file that they share with a driver on the same machine."""

import os
from contextlib import suppress
from pathlib import Path

from udfs.inference.meter import Meter

_BYTES = 8


class TellingMeter(Meter):
    """A meter that also keeps its task's tokens up to date in a file, by one small write for each pass.

    Args:
        descriptor: The file, open for writing; it is closed with the meter.
        task: Number of the task, from 0.
    """

    def __init__(self, descriptor: int, task: int) -> None:
        super().__init__()
        self._descriptor, self._task, self._told = descriptor, task, 0

    def add(self, **amounts: float) -> None:
        """Adds each amount to the attribute of the same name."""
        super().add(**amounts)
        tokens = amounts.get("tokens")
        if tokens:
            self._told += int(tokens)
            # A full disk is no reason to fail a task.
            with suppress(OSError):
                os.pwrite(self._descriptor, self._told.to_bytes(_BYTES, "little"), self._task * _BYTES)

    def __del__(self) -> None:
        # Not before: a thread of the pipeline could write to whatever file has got the number next.
        os.close(self._descriptor)


def task_meter(counts: Path | None, task: int) -> Meter:
    """Makes the meter of a task; one that tells nothing if there is no file, or none that can be written."""
    # Never created here: the file is the driver's, and on another machine it is missing.
    with suppress(OSError):
        if counts is not None:
            return TellingMeter(os.open(counts, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), task)
    return Meter()


def read_counts(counts: Path) -> list[int]:
    """Reads the tokens of each task, in order of the tasks; those that have not begun are 0 or missing."""
    content = counts.read_bytes()
    return [int.from_bytes(content[start : start + _BYTES], "little") for start in range(0, len(content), _BYTES)]
