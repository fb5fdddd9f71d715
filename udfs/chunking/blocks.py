"""Finds what is kept whole: tables, blocks of code, front matter and list items, in time linear in the text.

What opens a block and what closes it is decided by the lines beside it wherever they leave no doubt, so that a stray
mark does not turn the rest of a document inside out.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from udfs.chunking.boundaries import Kind

_FENCE = r"(?P<line>[ \t]*+)(?P<mark>`{3,}+|~{3,}+)(?P<info>[^\n`]*+)(?=\n|\Z)"
# A block of code that is longer is not recognized, so that a fence without an end reaches no further.
_LONGEST_CODE = 1 << 14
_RULE_ROW = (
    r"(?P<line>[ \t>]*+)(?=[^\n|]*+\|)\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t\r]*+(?=\n|\Z)"
)
_ROWS = re.compile(r"(?:\n(?=[^\n|]*+\|)[^\n]*+)*+")
_FRONT_MATTER = re.compile(r"\A---[ \t]*+\r?\n(?=[\w\"'-]+[ \t]*:)[^\0]{0,8192}?\n(?:---|\.\.\.)[ \t]*+(?=\r?\n|\Z)")
_MARKER = r"(?P<line>[ \t]*+)(?:[-*+\u2022\u2023\u25e6\u2043]|(?P<number>\d{1,3})[.)])[ \t]++(?=\S)"
_BLANK_LINES = re.compile(r"\n(?:[ \t\r]*+\n)++(?P<indent>[ \t]*+)")
_TAB = 4
_INDENT = re.compile(r"[ \t]*+")
# Items nested deeper count as siblings, so that a text is not counted once for each of a thousand levels.
_DEEPEST = 5


class Block(NamedTuple):
    """A part of a text that is kept whole if it fits a chunk.

    Attributes:
        start: Offset of its first line.
        end: Offset after its last line.
        kind: What it is.
        depth: Of a list item, how many items it is nested in.
        body: Of a table, the offset after the row that separates the header from the rest.
    """

    start: int
    end: int
    kind: Kind
    depth: int = 0
    body: int = 0


def code_blocks(text: str) -> list[Block]:
    """Finds front matter and blocks of code between fences.

    Args:
        text: Any text.

    Returns:
        Blocks in order.
    """
    front = _FRONT_MATTER.match(text)
    found = [Block(0, front.end(), Kind.CODE)] if front else []
    if "```" in text or "~~~" in text:
        begin = front.end() if front else 0
        found += _between_fences(text, (match for match in _of_lines(_FENCE, text) if match.start() >= begin))
    return found


def _between_fences(text: str, fences: Iterable[re.Match[str]]) -> Iterator[Block]:
    opened: re.Match[str] | None = None
    for fence in fences:
        if opened is not None and fence.end() - opened.start() > _LONGEST_CODE:
            opened = None
        if opened is None:
            opened = None if _must_close(text, fence) else fence
        elif fence["mark"].startswith(opened["mark"]):
            if _must_open(text, fence):
                opened = fence
            else:
                yield Block(opened.start("mark"), fence.end(), Kind.CODE)
                opened = None


def _must_open(text: str, fence: re.Match[str]) -> bool:
    return bool(fence["info"].strip()) or (_blank_before(text, fence) and not _blank_after(text, fence))


def _must_close(text: str, fence: re.Match[str]) -> bool:
    return not fence["info"].strip() and not _blank_before(text, fence) and _blank_after(text, fence)


def _blank_before(text: str, fence: re.Match[str]) -> bool:
    return _is_blank_before(text, fence.start("line"))


def _blank_after(text: str, fence: re.Match[str]) -> bool:
    stop = text.find("\n", fence.end() + 1)
    return not text[fence.end() : stop if stop >= 0 else len(text)].strip()


def _is_blank_before(text: str, line: int) -> bool:
    """Says whether the line before the one that starts at an offset is blank or does not exist."""
    return not text[text.rfind("\n", 0, max(line - 1, 0)) + 1 : line].strip()


def tables(text: str, blocks: Sequence[Block]) -> list[Block]:
    """Finds Markdown's tables: a row, a row of dashes, and the rows below.

    Args:
        text: Any text.
        blocks: Blocks of code, in order, where no table is looked for.

    Returns:
        Blocks in order.
    """
    found: list[Block] = []
    if "|" not in text or "-" not in text:
        return found
    starts, end = [block.start for block in blocks], 0
    for rule in _of_lines(_RULE_ROW, text):
        line = text.rfind("\n", 0, rule.start()) + 1
        if line < end or "|" not in text[line : rule.start()] or _within(rule, blocks, starts):
            continue
        rows = _ROWS.match(text, rule.end())
        end = rows.end() if rows else rule.end()
        found.append(Block(line + _indent(text, line), end, Kind.TABLE, body=rule.end()))
    return found


def list_items(text: str, blocks: Sequence[Block], headings: Sequence[int]) -> list[Block]:
    """Finds list items, each with its further paragraphs and the items nested in it.

    Args:
        text: Any text.
        blocks: Blocks of code and tables, in order, where no items are looked for.
        headings: Offsets of headings, in order; a list ends there.

    Returns:
        Items in the order of their starts.
    """
    starts = [block.start for block in blocks]
    markers = [match for match in _of_lines(_MARKER, text) if not _within(match, blocks, starts)]
    stops = [*(match.start("line") for match in markers[1:]), len(text)]
    items: list[Block] = []
    ends: list[int] = []
    opened: list[tuple[int, int]] = []

    def close(end: int, indent: int) -> None:
        while opened and opened[-1][1] >= indent:
            ends[opened.pop()[0]] = end

    for marker, stop in zip(markers, stops, strict=False):
        indent = _width(marker["line"])
        if not opened and not _may_begin_list(text, marker):
            continue
        # A single space more than the item before is no nesting.
        close(marker.start("line"), indent - 1)
        if len(opened) > _DEEPEST:
            close(marker.start("line"), opened[_DEEPEST][1])
        items.append(Block(marker.end("line"), 0, Kind.ITEM, len(opened)))
        opened.append((len(ends), indent))
        ends.append(len(text))
        for end, width in _interruptions(text, marker.end(), stop, blocks, starts, headings):
            close(end, width)
            if not opened:
                break
    return [item._replace(end=end) for item, end in zip(items, ends, strict=True)]


def _interruptions(
    text: str, start: int, stop: int, blocks: Sequence[Block], starts: Sequence[int], headings: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Yields where items end that are indented at least by the second number, in order."""
    heading = bisect_right(headings, start)
    stop = min(stop, headings[heading]) if heading < len(headings) else stop
    inside = blocks[bisect_right(starts, start) : bisect_right(starts, stop)]
    found = [(block.start, _indent_before(text, block.start)) for block in inside]
    for match in _BLANK_LINES.finditer(text, start, stop):
        if match.end() < stop and not _within(match, blocks, starts):
            found.append((match.start(), _width(match["indent"])))
    yield from sorted(found)
    if heading < len(headings) and stop == headings[heading]:
        yield stop, -1


def _may_begin_list(text: str, marker: re.Match[str]) -> bool:
    # A number at the start of a line may be that of a sentence.
    if marker["number"] in (None, "1") or _is_blank_before(text, marker.start("line")):
        return True
    return text[max(0, marker.start() - 2) : marker.start()].rstrip("\r\n").endswith(":")


def _of_lines(pattern: str, text: str) -> Iterator[re.Match[str]]:
    """Finds the lines that begin with a pattern; its group `line` begins where the line does."""
    if first := re.compile(pattern).match(text):
        yield first
    # A line feed is found several times faster than the start of a line is.
    yield from re.compile(rf"\n{pattern}").finditer(text)


def _within(match: re.Match[str], blocks: Sequence[Block], starts: Sequence[int]) -> bool:
    index = bisect_right(starts, match.end()) - 1
    return index >= 0 and match.end() <= blocks[index].end


def _indent(text: str, line: int) -> int:
    return len(match.group()) if (match := _INDENT.match(text, line)) else 0


def _indent_before(text: str, position: int) -> int:
    return _width(text[text.rfind("\n", 0, position) + 1 : position])


def _width(indent: str) -> int:
    return len(indent) + (_TAB - 1) * indent.count("\t")
