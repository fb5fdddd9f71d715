"""Where a text may be cut: atoms of text, each with the level of the boundary before it. Tokens play no role here.

Every rule looks only at the lines and sentences around a position, so an edit does not move boundaries far away.
Quantifiers are possessive, so patterns never backtrack and the time is linear in the length of the text.
"""

import re
from collections.abc import Callable
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple
from unicodedata import category

import numpy as np
import numpy.typing as npt

_LINE_BREAK = re.compile(r"[\n\r\f\v\x85\u2028\u2029]\s*+")
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

# Joiners, Hangul vowels, skin tones and tags. Together with combining marks they are roughly the class Extend of
# Unicode Standard Annex #29.
_EXTENDING = re.compile("[\u200c\u200d\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
# Characters processed together, so that the arrays fit in the processor's cache however long the text is.
_BLOCK = 1 << 17
_FEW_CODES = 20_000
# Characters that a block needs before its start. The hash looks back 16, and few runs of blanks are longer than this.
_LEAD = 1 << 10


class Level(IntEnum):
    """The strength of a boundary. The three lowest are used only if a sentence is too long for a chunk."""

    INSIDE = 0
    WORD = 1
    NEWLINE = 2
    SENTENCE = 3
    LINE = 4
    PARAGRAPH = 5
    HEADING = 6


class Atom(NamedTuple):
    """A piece of a text, `text[start:end]`, without white space at its ends. `level` is the boundary before it."""

    start: int
    end: int
    level: Level


def sentences(text: str) -> list[Atom]:
    """Cuts a text at headings, paragraph ends, list items, table rows, lines of code and sentence ends.

    The atoms are in order and contain every character except white space between them.
    """
    # The level of a line replaces the level of a sentence end at the same offset, because the boundary below a heading
    # must stay weak.
    cuts = _sentence_cuts(text) | _line_cuts(text)
    begin = len(text) - len(text.lstrip())
    offsets = [begin, *sorted(offset for offset in cuts if begin < offset < len(text)), len(text)]
    spans = ((start, start + len(text[start:stop].rstrip())) for start, stop in pairwise(offsets))
    return [Atom(start, end, cuts.get(start, Level.HEADING)) for start, end in spans if start < end]


def _line_cuts(text: str) -> dict[int, Level]:
    cuts: dict[int, Level] = {}
    heading_end = _heading_end(text, len(text) - len(text.lstrip()), Level.PARAGRAPH)
    for match in _LINE_BREAK.finditer(text):
        if match.start() < heading_end:
            continue
        level = _break_level(text, match)
        next_heading_end = _heading_end(text, match.end(), level)
        # A heading belongs to what follows it, even if that is another heading.
        level = Level.WORD if heading_end else Level.HEADING if next_heading_end else level
        if level is not None:
            cuts[match.end()] = level
        heading_end = next_heading_end
    return cuts


def _break_level(text: str, match: re.Match[str]) -> Level | None:
    space = match.group()
    if "\f" in space or "\u2029" in space or max(space.count("\n"), space.count("\r")) > 1:
        return Level.PARAGRAPH
    indent = space[max(space.rfind("\n"), space.rfind("\r")) + 1 :]
    # A smaller indent than that of code is the hanging indent of a wrapped list item.
    is_code = "\t" in indent or len(indent) >= _CODE_INDENT
    return Level.LINE if is_code or _LIST_OR_ROW.match(text, match.end()) else None


def _heading_end(text: str, position: int, level: Level | None) -> int:
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


def _sentence_cuts(text: str) -> dict[int, Level]:
    cuts: dict[int, Level] = {}
    for match in _SENTENCE_END.finditer(text):
        following = _NEXT_SENTENCE.match(text, match.end())
        unspaced = not _UNSPACED_ENDS.isdisjoint(match[1])
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


def pieces(text: str, atom: Atom, longest: int) -> list[Atom]:
    """Cuts an atom that is too long for a chunk at newlines and between words, and inside words that are too long.

    Inside a word, the 16 characters before an offset decide, so a change elsewhere does not move a cut. A cut separates
    a character from its combining marks only if no other offset is within reach.

    Args:
        text: The text that contains the atom.
        atom: The atom to cut.
        longest: Maximum number of characters in a piece; at least 1.

    Returns:
        Pieces in order; the first has the level of the atom.
    """
    atom_text = text[atom.start : atom.end]
    codes = np.frombuffer(atom_text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    levels, keys = _cut_keys(codes)
    levels[0] = atom.level
    cuts = [0]
    while len(atom_text) - cuts[-1] > longest:
        # Take the last of equal keys, so that repetitive text is not cut into single characters.
        cuts.append(cuts[-1] + longest - int(keys[cuts[-1] + 1 : cuts[-1] + longest + 1][::-1].argmax()))
    atoms = []
    for start, stop in pairwise([*cuts, len(atom_text)]):
        begin = stop - len(atom_text[start:stop].lstrip())
        if begin < stop:
            end = start + len(atom_text[start:stop].rstrip())
            atoms.append(Atom(atom.start + begin, atom.start + end, Level(int(levels[begin]))))
    return atoms


def _cut_keys(codes: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Returns the level of the boundary before each character, and a key for comparing boundaries."""
    levels, keys = np.empty(len(codes), np.uint8), np.empty(len(codes), np.uint32)
    for start in range(0, len(codes), _BLOCK):
        lead = max(0, start - _LEAD)
        block = slice(start, start + _BLOCK)
        block_levels, block_keys = _block_keys(codes[lead : start + _BLOCK])
        levels[block], keys[block] = block_levels[start - lead :], block_keys[start - lead :]
    return levels, keys


def _block_keys(codes: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    space, newline = _matches(codes, str.isspace), codes == ord("\n")
    extending = _matches(codes, lambda character: bool(_EXTENDING.match(character)) or category(character)[0] == "M")
    extending[1:] |= codes[:-1] == ord("\u200d")
    last_but_blanks = np.maximum.accumulate(np.where(space & ~newline, 0, np.arange(len(codes))))
    levels = np.zeros(len(codes), np.uint8)
    levels[1:][space[:-1]] = Level.WORD
    levels[1:][newline[last_but_blanks[:-1]]] = Level.NEWLINE
    ranks = np.where(space | extending, 0, levels + 1).astype(np.uint32)
    return levels, ranks << np.uint32(28) | _rolling_hash(codes) >> np.uint32(4)


def _matches(codes: npt.NDArray[np.uint32], test: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
    # Counting goes up to the highest code point, a million with an emoji. Only for long texts is sorting slower.
    distinct = np.unique(codes) if len(codes) < _FEW_CODES else np.flatnonzero(np.bincount(codes))
    table = np.zeros(int(distinct[-1]) + 1, np.bool_)
    table[distinct] = [test(chr(code)) for code in distinct]
    return table[codes]


def _rolling_hash(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Hashes the 16 characters before each offset: every round combines two neighboring windows."""
    hashes: npt.NDArray[np.uint32] = (codes + np.uint32(1)) * np.uint32(0x9E3779B1)
    hashes ^= hashes >> np.uint32(15)
    for reach in (1, 2, 4, 8):
        hashes[reach:] += hashes[:-reach] * np.uint32(pow(0x85EBCA6B, reach, 1 << 32))
    hashes[1:] = hashes[:-1].copy()
    hashes ^= hashes >> np.uint32(16)
    hashes *= np.uint32(0xC2B2AE35)
    return hashes
