"""A terminal without a window: what is written to it, and what a person would see."""

import io
import re

import pyte
from rich.console import Console


class Screen(io.StringIO):
    """A file that is a terminal.

    Args:
        width: Columns.
        height: Lines; what scrolls out above is kept.
    """

    def __init__(self, width: int, height: int = 40) -> None:
        super().__init__()
        self._screen = pyte.HistoryScreen(width, height, history=1000)
        self._stream = pyte.Stream(self._screen)
        self.writes: list[str] = []
        # Nothing of the terminal that the tests run on.
        self.console = Console(file=self, force_terminal=True, width=width, height=height, _environ={"TERM": "xterm"})

    def write(self, text: str) -> int:
        self.writes.append(text)
        # A terminal's driver adds the carriage return.
        self._stream.feed(re.sub(r"(?<!\r)\n", "\r\n", text))
        return len(text)

    def resize(self, width: int) -> None:
        """Makes the terminal wider or narrower; as most do, it cuts or keeps lines instead of wrapping them anew."""
        self.console.width = width
        self._screen.resize(columns=width)

    def lines(self) -> list[str]:
        """What is on the screen, without empty lines."""
        return [line.rstrip() for line in self._screen.display if line.strip()]
