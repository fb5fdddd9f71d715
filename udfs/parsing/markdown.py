"""Writes the Markdown-like text that every format becomes, and notes where pages begin."""

import re
from collections.abc import Iterable, Sequence

from schemas.reasons import TOO_LARGE
from udfs.parsing.parsed import RefusedError

# Would be read as a heading or a fence where the document has a paragraph.
_MARKS = re.compile(r"^(?=#{1,6}\s|```|~~~)", re.MULTILINE)
# Not characters of a text: what no XML may hold, and what PDF's fonts could not map.
_NOT_TEXT = {code: None for code in [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, 0xFFFE, 0xFFFF]}
_MOST_COLUMNS = 1000


def collapsed(text: str) -> str:
    """A text on one line, with single blanks."""
    return " ".join(text.translate(_NOT_TEXT).split())


class Markdown:
    """A text in the making.

    Args:
        characters: How long it may become; more refuses the document.
    """

    def __init__(self, characters: int) -> None:
        self._most = characters
        self._parts: list[str] = []
        self._length = 0
        self._in_list = False
        self._pages: list[int] = []
        self._open_pages = 0
        self.first_heading: str | None = None

    def heading(self, level: int, text: str) -> None:
        """Adds a heading; levels below the sixth become the sixth."""
        line = collapsed(text)
        if line:
            self.first_heading = self.first_heading or line
            self._add(f"{'#' * min(max(level, 1), 6)} {line}")

    def paragraph(self, text: str) -> None:
        """Adds a paragraph; its line breaks stay."""
        split = [" ".join(line.split()) for line in text.translate(_NOT_TEXT).split("\n")]
        lines = "\n".join(filter(None, split))
        if lines:
            self._add(_MARKS.sub(r"\\", lines) if any(mark in lines for mark in "#`~") else lines)

    def item(self, depth: int, text: str, number: int | None = None) -> None:
        """Adds an item of a list.

        Args:
            depth: How many lists it lies in, beside its own.
            text: Its own text, without that of lists within it.
            number: Its number in an ordered list.
        """
        line = collapsed(text)
        if line:
            mark = "-" if number is None else f"{number}."
            self._add(f"{'  ' * min(depth, 20)}{mark} {line}", listed=True)

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """Adds a table; its first row is the header.

        Args:
            rows: Cells of each row. Rows without text are left out, and columns on the right that no row fills.
        """
        lines = [[collapsed(cell).replace("|", "\\|") for cell in row[:_MOST_COLUMNS]] for row in rows]
        lines = [line for line in lines if any(line)]
        width = max((at + 1 for line in lines for at, cell in enumerate(line) if cell), default=0)
        if not width:
            return
        shown = [f"| {' | '.join((line + [''] * width)[:width])} |" for line in lines]
        self._add("\n".join([shown[0], "|" + " --- |" * width, *shown[1:]]))

    def code(self, text: str, language: str = "") -> None:
        """Adds code, between fences that it does not hold itself."""
        lines = text.translate(_NOT_TEXT).expandtabs(4).strip("\n").rstrip()
        if lines.strip():
            fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall(r"`{3,}", lines))])
            self._add(f"{fence}{language}\n{lines}\n{fence}")

    def verbatim(self, text: str) -> None:
        """Adds text that is Markdown already."""
        lines = text.strip("\n").rstrip()
        if lines.strip():
            self._add(lines)

    def page(self) -> None:
        """Begins a page with what is added next."""
        self._open_pages += 1

    @property
    def pages(self) -> tuple[int, ...]:
        """Where each page begins; those at the end without text begin where the text ends."""
        return (*self._pages, *[self._length] * self._open_pages)

    @property
    def text(self) -> str:
        """All that was added."""
        return "".join(self._parts)

    def _add(self, block: str, *, listed: bool = False) -> None:
        between = "" if not self._parts else "\n" if listed and self._in_list else "\n\n"
        self._in_list = listed
        self._length += len(between)
        self._pages += [self._length] * self._open_pages
        self._open_pages = 0
        self._length += len(block)
        if self._length > self._most:
            raise RefusedError(TOO_LARGE, f"the text has more than {self._most} characters")
        self._parts += [between, block]
