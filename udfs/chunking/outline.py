"""The structure of a document by rules 2: what is kept whole, where it may be cut, and which headings it is under."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from udfs.chunking.blocks import Block, code_blocks, list_items, tables
from udfs.chunking.boundaries import LINE_BREAK, Atom, Kind, Level, break_level, heading_end
from udfs.chunking.scripts import script_sentence_cuts

_ATX = re.compile(r"(?P<marks>#{1,6})[ \t]++(?P<title>[^\n\r]*+)")
_RULE = re.compile(r"([=\-~^\"'*+#.:_])\1{2,}+[ \t]*+$")
_PART_BREAK = re.compile(r"\n[ \t\r]*+\n\s*+")
_ROW_BREAK = re.compile(r"\n[ \t]*+")
# A line with a mark of these alone is no chunk.
_FENCES = ("```", "~~~", "---", "...")


class Heading(NamedTuple):
    """A heading: where it is, how it is marked, and its text."""

    start: int
    end: int
    mark: str
    title: str


@dataclass(frozen=True)
class Outline:
    """The structure of a text.

    Attributes:
        text: The text.
        cuts: Levels of boundaries by offset, of lines and sentences.
        offsets: The offsets of `cuts`, in order.
        blocks: By depth of nesting, the blocks that are kept whole, in order; the first are those of the text itself.
        headings: The headings, in order.
    """

    text: str
    cuts: Mapping[int, Level]
    offsets: Sequence[int]
    blocks: Sequence[Sequence[Block]]
    headings: Sequence[Heading]

    @cached_property
    def atoms(self) -> list[Atom]:
        """What the text consists of: headings, blocks, and sentences between them."""
        begin = len(self.text) - len(self.text.lstrip())
        return self._assembled(begin, len(self.text), 0, Level.HEADING)

    def within(self, start: int, end: int) -> list[Atom]:
        """Returns the atoms of a part of the text; the first and last one cut off at its ends."""
        first = max(bisect_right(self.atoms, start, key=lambda atom: atom.start) - 1, 0)
        stop = bisect_left(self.atoms, end, key=lambda atom: atom.start)
        atoms = self.atoms[first:stop]
        # The others lie within.
        for index in {0, len(atoms) - 1} if atoms else ():
            atoms[index] = atoms[index]._replace(start=max(atoms[index].start, start), end=min(atoms[index].end, end))
        return [atom for atom in atoms if atom.start < atom.end]

    def parts(self, atom: Atom) -> list[Atom]:
        """Cuts an atom that is too long at the strongest boundaries inside; returns it alone if there are none."""
        if atom.kind is Kind.ITEM:
            return self._assembled(atom.start, atom.end, atom.depth + 1, atom.level)
        if atom.kind is Kind.TABLE:
            return self._split(atom, self._rows(atom), Level.PART, Kind.TEXT)
        if atom.kind is Kind.CODE:
            return self._split(atom, self._groups(atom), Level.LINE, Kind.LINES)
        if atom.kind is Kind.LINES:
            return self._split(atom, self._code_lines(atom), Level.PART, Kind.TEXT)
        return [atom]

    def table_header(self, position: int) -> str:
        """Returns the header row of the table whose rows a position is among; empty if there is none."""
        tables = self._tables
        if not tables:
            return ""
        index = bisect_right(tables, position, key=lambda table: table.start) - 1
        if index < 0 or not tables[index].body <= position < tables[index].end:
            return ""
        table = tables[index]
        return self.text[table.start : table.body].split("\n", 1)[0].rstrip()

    def headings_of(self, start: int, end: int) -> tuple[str, ...]:
        """Returns the headings that a part of the text is under, the outermost first; those it begins with too."""
        if not self.headings:
            return ()
        index = bisect_right(self.headings, start, key=lambda heading: heading.start) - 1
        # A chunk that begins with headings is about what follows the last of them.
        while 0 <= index < len(self.headings) - 1 and self.headings[index].start >= start:
            following = self.headings[index + 1].start
            if following >= end or self.text[self.headings[index].end : following].strip():
                break
            index += 1
        path: list[str] = []
        while index >= 0:
            path.append(self.headings[index].title)
            index = self._parents[index]
        return tuple(reversed(path))

    @cached_property
    def _parents(self) -> list[int]:
        parents, opened = list[int](), list[tuple[int, int]]()
        for index, depth in enumerate(_depths(self.headings)):
            while opened and opened[-1][1] >= depth:
                opened.pop()
            parents.append(opened[-1][0] if opened else -1)
            opened.append((index, depth))
        return parents

    @cached_property
    def _tables(self) -> list[Block]:
        found = {block for level in self.blocks for block in level if block.kind is Kind.TABLE}
        return sorted(found)

    def _assembled(self, start: int, end: int, depth: int, first: Level) -> list[Atom]:
        """Lists the atoms of a part of the text, with the blocks of one depth kept whole."""
        blocks = list(self._blocks(start, end, depth))
        if not blocks and not self.headings:
            return self._sentences(start, end, first)
        inner = iter(blocks)
        block = next(inner, None)
        places: list[tuple[int, Level, Block | None]] = []
        offsets = self.offsets[bisect_right(self.offsets, start) : bisect_left(self.offsets, end)]
        known = {start, *offsets, *(each.start for each in blocks)}
        known.update(each.end for each in blocks)
        for offset in sorted(known):
            while block is not None and block.end <= offset:
                block = next(inner, None)
            if block is not None and block.start < offset < block.end:
                continue
            at = block if block is not None and block.start == offset else None
            level = self.cuts.get(offset, Level.LINE) if offset > start else first
            # A nested item is the weaker boundary. Paragraphs of an item stay as strong as any, so that a mark in front
            # of an indented section changes no boundary in it.
            nested = at is not None and at.kind is Kind.ITEM and at.depth > 0 and level is Level.LINE
            places.append((offset, Level.PART if nested else level, at))
        return list(self._between(places, end))

    def _sentences(self, start: int, end: int, first: Level) -> list[Atom]:
        offsets = self.offsets[bisect_right(self.offsets, start) : bisect_left(self.offsets, end)]
        levels = [first, *(self.cuts[offset] for offset in offsets)]
        stops = (offset + len(self.text[offset:stop].rstrip()) for offset, stop in pairwise([start, *offsets, end]))
        atoms = map(Atom, [start, *offsets], stops, levels)
        return [atom for atom in atoms if atom.start < atom.end]

    def _between(self, places: Sequence[tuple[int, Level, Block | None]], end: int) -> Iterator[Atom]:
        pending: Level | None = None
        for (offset, level, block), stop in zip(places, [*(place[0] for place in places[1:]), end], strict=True):
            piece = self.text[offset:stop]
            begin, stop = stop - len(piece.lstrip()), offset + len(piece.rstrip())
            if begin >= stop:
                # Only blanks: the boundary before them is that of what follows.
                pending = level if pending is None else max(pending, level)
                continue
            kind = block.kind if block is not None else Kind.HEADING if offset in self._titles else Kind.TEXT
            strongest = level if pending is None else max(pending, level)
            yield Atom(begin, stop, strongest, kind, block.depth if block is not None else 0)
            pending = None

    @cached_property
    def _titles(self) -> frozenset[int]:
        return frozenset(heading.start for heading in self.headings)

    def _blocks(self, start: int, end: int, depth: int) -> Iterator[Block]:
        if depth >= len(self.blocks):
            return
        blocks = self.blocks[depth]
        first = bisect_left(blocks, start, key=lambda each: each.start)
        stop = bisect_left(blocks, end, key=lambda each: each.start)
        for index in range(first, stop):
            yield blocks[index]._replace(end=min(blocks[index].end, end))

    def _rows(self, atom: Atom) -> list[int]:
        tables = self._tables
        table = tables[bisect_right(tables, atom.start, key=lambda each: each.start) - 1]
        breaks = _breaks(_ROW_BREAK, self.text, atom.start, atom.end)
        # The header stays with the first row.
        return [offset for offset in breaks if offset > table.body][1 if atom.start <= table.body else 0 :]

    def _groups(self, atom: Atom) -> list[int]:
        # Neither the opening nor the closing mark is left alone.
        opening = self.text.find("\n", atom.start, atom.end)
        closing = self.text.rfind("\n", atom.start, atom.end)
        content = opening + len(self.text[opening:closing]) - len(self.text[opening:closing].lstrip())
        breaks = _breaks(_PART_BREAK, self.text, atom.start, atom.end)
        return [offset for offset in breaks if content < offset <= closing]

    def _code_lines(self, atom: Atom) -> list[int]:
        breaks = _breaks(_ROW_BREAK, self.text, atom.start, atom.end)
        first = 1 if self.text.startswith(_FENCES, atom.start) else 0
        return breaks[first:-1] if breaks and self.text.startswith(_FENCES, breaks[-1]) else breaks[first:]

    def _split(self, atom: Atom, offsets: Sequence[int], level: Level, kind: Kind) -> list[Atom]:
        cuts = [(offset, level, None) for offset in offsets if atom.start < offset < atom.end]
        pieces = self._between([(atom.start, atom.level, None), *cuts], atom.end)
        return [piece._replace(kind=kind) for piece in pieces]


def outline_of(text: str) -> Outline:
    """Finds the structure of a text.

    Args:
        text: Any text.

    Returns:
        Its structure, in time linear in its length.
    """
    code = code_blocks(text)
    whole = sorted([*code, *tables(text, code)])
    lines, headings = _lines(text, whole)
    items = list_items(text, whole, [heading.start for heading in headings])
    cuts = _outside(headings, script_sentence_cuts(text)) | lines
    return Outline(text, cuts, sorted(cuts), _by_depth(whole, items), headings)


def _outside(headings: Sequence[Heading], cuts: dict[int, Level]) -> dict[int, Level]:
    offsets = sorted(cuts) if headings else []
    for heading in headings:
        for index in range(bisect_right(offsets, heading.start), bisect_left(offsets, heading.end)):
            del cuts[offsets[index]]
    return cuts


def _by_depth(whole: Sequence[Block], items: Sequence[Block]) -> list[list[Block]]:
    """Sorts blocks by how many items they are nested in."""
    depths = max((item.depth for item in items), default=-1) + 2
    found: list[list[Block]] = [[] for _ in range(depths)]
    opened: list[Block] = []
    for block in sorted([*whole, *items]):
        while opened and opened[-1].end <= block.start:
            opened.pop()
        if block.kind is Kind.ITEM:
            found[block.depth].append(block)
            opened.append(block)
        else:
            found[opened[-1].depth + 1 if opened else 0].append(block)
    return found


def _lines(text: str, blocks: Sequence[Block]) -> tuple[dict[int, Level], list[Heading]]:
    """Finds the boundaries before lines, and the headings, outside of blocks."""
    cuts: dict[int, Level] = {}
    headings: list[Heading] = []
    begin = len(text) - len(text.lstrip())
    waiting = iter(blocks)
    block = next(waiting, None)
    title_end = 0
    if block is None or block.start > begin:
        title_end = _heading(text, begin, Level.PARAGRAPH, headings)
    for match in LINE_BREAK.finditer(text):
        while block is not None and block.end <= match.start():
            block = next(waiting, None)
        if match.start() < title_end or (block is not None and block.start <= match.start()):
            continue
        level = break_level(text, match)
        next_title_end = 0
        if block is None or block.start != match.end():
            next_title_end = _heading(text, match.end(), level, headings)
        level = Level.WORD if title_end else Level.HEADING if next_title_end else level
        if level is not None:
            cuts[match.end()] = level
        title_end = next_title_end
    return cuts, headings


def _heading(text: str, position: int, level: Level | None, headings: list[Heading]) -> int:
    end = heading_end(text, position, level)
    if end:
        headings.append(Heading(position, end, *_title(text[position:end])))
    return end


def _title(source: str) -> tuple[str, str]:
    if match := _ATX.match(source):
        title = match["title"].strip()
        closed = title.rstrip("#")
        return f"h{len(match['marks'])}", closed.rstrip() if closed[-1:] in ("", " ", "\t") else title
    lines = [line.strip() for line in source.splitlines()]
    ruled_above = _RULE.match(lines[0]) is not None and len(lines) > 2
    return lines[-1][0] * (2 if ruled_above else 1), lines[1 if ruled_above else 0]


def _depths(headings: Sequence[Heading]) -> list[int]:
    """Says how deep each heading is: by its marks in Markdown, else by which kind of rule comes first."""
    if any(heading.mark[0] == "h" for heading in headings):
        ruled = {"=": 1, "==": 1}
        return [int(each.mark[1]) if each.mark[0] == "h" else ruled.get(each.mark, 2) for each in headings]
    order = {mark: depth for depth, mark in enumerate(dict.fromkeys(heading.mark for heading in headings))}
    return [order[heading.mark] for heading in headings]


def _breaks(pattern: re.Pattern[str], text: str, start: int, end: int) -> list[int]:
    return [match.end() for match in pattern.finditer(text, start, end)]
