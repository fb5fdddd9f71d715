"""Where a text may be cut: atoms of text, each with the level of the boundary before it. Tokens play no role here.

`sentences` is all of rules 1; rules 2 (`outline.py`) build on the same lines and sentences. Every rule looks only at
the lines and sentences around a position, so an edit does not move boundaries far away. Quantifiers are possessive, so
patterns never backtrack and the time is linear in the length of the text.
"""

import re
from collections.abc import Set
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

LINE_BREAK = re.compile(r"[\n\r\f\v\x85\u2028\u2029]\s*+")
_ATX_HEADING = re.compile(r"#{1,6}[ \t]++[^\n\r]*+")
# Section titles of reStructuredText and setext headings of CommonMark: a line of one repeated mark below the title, or
# above and below it.
_RULED_HEADING = re.compile(
    r"(?:([=\-~^\"'*+#.:_])\1{2,}+[ \t]*+\r?\n[ \t]*+)?(?P<title>[^\s|][^\n\r]{0,119}+)\r?\n"
    r"(?P<rule>(?P<mark>[=\-~^\"'*+#.:_])(?P=mark){2,}+)[ \t]*+(?=[\r\n]|\Z)"
)
_LIST_OR_ROW = re.compile(r"[-*+\u2022\u2023\u25e6\u2043\u2013]\s|\(?(?:\d{1,3}|[A-Za-z])[.)]\s|\||>>>\s|```|~~~")
_SENTENCE_END = re.compile(
    r"([.!?\u2026\u203c\u2047-\u2049\u061f\u06d4\u0964\u3002\uff01\uff1f\uff61]++)"
    r"[\"'\u2019\u201d\u00bb\u203a)\]}*_\u300d\u300f\u3011\u3015\u300b\uff09]*+"
)
_UNSPACED_ENDS = frozenset("\u3002\uff01\uff1f\uff61")
_NEXT_SENTENCE = re.compile(r"(\s*+)[\"'\u2018\u201c\u00ab\u2039(\[{*_]{0,3}(\S)")
_ITEM_NUMBER = re.compile(r"[\n\r][#>*\s(-]*(?:(?:\d{1,3}\.){0,3}\d{1,3}|[A-Za-z])")
_ABBREVIATION = re.compile(
    "(?i:adm|al|approx|aug|bzw|ca|capt|cf|dec|dept|dr|eds?|eqs?|esp|excl|feb|figs?|gov|incl|jan|jr|lt|mme|mrs?|ms|nov|oct"
    "|prof|refs?|resp|sept|sgt|spp?|sr|ssp|st|subsp|suppl|var|viz|vols|vs)"
)
_ABBREVIATION_BEFORE_NUMBERS = re.compile("(?i:art|ch|nos?|nr|pp?|para|pt|sec|tab|vol)")
_LOOK_BACK = 16
_CODE_INDENT = 4


class Level(IntEnum):
    """The strength of a boundary; only the order counts.

    The four lowest are used only if a sentence is too long for a chunk. `SEGMENT`, between words that no space
    separates, and `PART`, within a table, a block of code or a list item that is too long, belong to rules 2.
    """

    INSIDE = 0
    SEGMENT = 1
    WORD = 2
    NEWLINE = 3
    SENTENCE = 4
    PART = 5
    LINE = 6
    PARAGRAPH = 7
    HEADING = 8


class Kind(IntEnum):
    """What an atom is, and so where it is cut if it is too long for a chunk. Rules 1 know only `TEXT`."""

    TEXT = 0
    HEADING = 1
    TABLE = 2
    CODE = 3
    LINES = 4
    ITEM = 5


class Atom(NamedTuple):
    """A piece of a text, `text[start:end]`, without white space at its ends.

    Attributes:
        start: Offset of its first character.
        end: Offset after its last character.
        level: The boundary before it.
        kind: What it is.
        depth: Of a list item, how many items it is nested in.
    """

    start: int
    end: int
    level: Level
    kind: Kind = Kind.TEXT
    depth: int = 0


def sentences(text: str) -> list[Atom]:
    """Cuts a text at headings, paragraph ends, list items, table rows, lines of code and sentence ends.

    The atoms are in order and contain every character except white space between them.
    """
    # The level of a line replaces the level of a sentence end at the same offset, because the boundary below a heading
    # must stay weak.
    cuts = sentence_cuts(text) | _line_cuts(text)
    begin = len(text) - len(text.lstrip())
    offsets = [begin, *sorted(offset for offset in cuts if begin < offset < len(text)), len(text)]
    spans = ((start, start + len(text[start:stop].rstrip())) for start, stop in pairwise(offsets))
    return [Atom(start, end, cuts.get(start, Level.HEADING)) for start, end in spans if start < end]


def _line_cuts(text: str) -> dict[int, Level]:
    cuts: dict[int, Level] = {}
    title_end = heading_end(text, len(text) - len(text.lstrip()), Level.PARAGRAPH)
    for match in LINE_BREAK.finditer(text):
        if match.start() < title_end:
            continue
        level = break_level(text, match)
        next_title_end = heading_end(text, match.end(), level)
        # A heading belongs to what follows it, even if that is another heading.
        level = Level.WORD if title_end else Level.HEADING if next_title_end else level
        if level is not None:
            cuts[match.end()] = level
        title_end = next_title_end
    return cuts


def break_level(text: str, match: re.Match[str]) -> Level | None:
    """Says which boundary a match of `LINE_BREAK` is; None if the line only wraps."""
    space = match.group()
    if "\f" in space or "\u2029" in space or max(space.count("\n"), space.count("\r")) > 1:
        return Level.PARAGRAPH
    indent = space[max(space.rfind("\n"), space.rfind("\r")) + 1 :]
    # A smaller indent than that of code is the hanging indent of a wrapped list item.
    is_code = "\t" in indent or len(indent) >= _CODE_INDENT
    return Level.LINE if is_code or _LIST_OR_ROW.match(text, match.end()) else None


def heading_end(text: str, position: int, level: Level | None) -> int:
    """Returns the end of the heading that starts at a position; 0 if no heading starts there."""
    if level is Level.LINE or text[position - 1 : position] in (" ", "\t"):
        return 0
    after_blank = level is Level.PARAGRAPH
    # A single `#` directly below a line of text is more often a comment in code than a heading.
    if (after_blank or text.startswith("##", position)) and (match := _ATX_HEADING.match(text, position)):
        return match.end()
    match = _RULED_HEADING.match(text, position) if after_blank else None
    # In CommonMark, `=` and `-` lines may be shorter than the title; in reStructuredText no line may be shorter.
    return match.end() if match and (match["mark"] in "=-" or len(match["rule"]) >= len(match["title"].rstrip())) else 0


def sentence_cuts(
    text: str, ends: re.Pattern[str] = _SENTENCE_END, unspaced_ends: Set[str] = _UNSPACED_ENDS
) -> dict[int, Level]:
    """Finds the offsets at which a sentence follows another.

    Args:
        text: Any text.
        ends: Finds marks that end a sentence, as its first group, with the brackets that close behind them.
        unspaced_ends: The marks that need no space behind them.

    Returns:
        `Level.SENTENCE` by offset.
    """
    cuts: dict[int, Level] = {}
    for match in ends.finditer(text):
        following = _NEXT_SENTENCE.match(text, match.end())
        unspaced = not unspaced_ends.isdisjoint(match[1])
        if following is None or not (unspaced or (following[1] and not following[2].islower())):
            continue
        if match[1] != "." or not _is_abbreviation(text, match.start(), following[2]):
            cuts[following.end(1)] = Level.SENTENCE
    return cuts


def _is_abbreviation(text: str, stop: int, following: str) -> bool:
    before = text[stop - _LOOK_BACK : stop] if stop >= _LOOK_BACK else "\n" + text[:stop]
    is_item = _ITEM_NUMBER.fullmatch(before, max(before.rfind("\n"), before.rfind("\r"), 0))
    word = (before.split() or [""])[-1].lstrip("\"'\u2018\u201c([{*_")
    is_initials = all(len(letter) == 1 for letter in word.split(".")) and ("." in word or word.isupper())
    listed = _ABBREVIATION.fullmatch(word) or (following.isdigit() and _ABBREVIATION_BEFORE_NUMBERS.fullmatch(word))
    return bool(is_item or is_initials or listed)
