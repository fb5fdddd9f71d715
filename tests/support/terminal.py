"""A program on a terminal of its own: what it shows, and keys pressed one after another."""

import os
import pty
import re
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_SECONDS = 240
# What editors of lines send to move the cursor and to announce pasted text.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Starts a program as a person does.

    Args:
        command: The program and its arguments.
        environment: Its variables.
        folder: Where it starts.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self._shown = b""
        # The child gets the terminal as its controlling one, so that Ctrl-C becomes a signal.
        self._process, self._descriptor = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            os.execve(command[0], command, {**environment, "TERM": "dumb", "LC_ALL": "C.UTF-8", "COLUMNS": "200"})

    def press(self, keys: str | bytes) -> None:
        os.write(self._descriptor, keys.encode() if isinstance(keys, str) else keys)

    def until(self, text: str) -> str:
        """Waits for a text, and returns what was shown before and with it."""
        end = time.monotonic() + _SECONDS
        while text not in (shown := _CONTROL.sub("", self._shown.decode("utf-8", "replace"))):
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, end - time.monotonic()))
            read = self._read() if ready else b""
            assert read, f"no {text!r} in {shown!r}"
            self._shown += read
        before, found, after = shown.partition(text)
        self._shown = after.encode()
        return before + found

    def ended(self) -> int:
        """Waits for the program's end; returns its exit code."""
        while self._read():
            pass
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)

    def _read(self) -> bytes:
        # Linux reports the end of the other side as an error.
        with suppress(OSError):
            return os.read(self._descriptor, 65_536)
        return b""
