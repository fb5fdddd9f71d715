"""Where a sentence that is too long for a chunk may be cut: at newlines, between words, inside long words."""

import re
from collections.abc import Callable
from itertools import pairwise
from unicodedata import category

import numpy as np
import numpy.typing as npt

from udfs.boundaries import Atom, Level

# With the marks about the class Extend of Unicode Standard Annex #29: joiners, Hangul vowels, skin tones, tags.
_EXTENDING = re.compile("[\u200c\u200d\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
# Characters looked at together: arrays that stay in the processor's cache, whatever the length of the text.
_BLOCK = 1 << 17
# Characters before a block that it needs to know: the hash looks back 16, and a run of blanks is hardly ever longer.
_LEAD = 1 << 10


def pieces(text: str, atom: Atom, longest: int) -> list[Atom]:
    """Cut an atom that is too long for a chunk, at newlines and words, and inside words where they are long.

    Inside a word the 16 characters before a place decide, so that a change elsewhere moves no cut. No cut parts a
    character from its combining marks where another place is in reach.

    Args:
        text: The text that the atom is part of.
        atom: The atom to cut.
        longest: Most characters of a piece, at least 1.

    Returns:
        Pieces in order; the first has the level of the atom.
    """
    part = text[atom.start : atom.end]
    codes = np.frombuffer(part.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    levels, keys = _cut_keys(codes)
    levels[0] = atom.level
    cuts = [0]
    while len(part) - cuts[-1] > longest:
        # Of equal keys the last, for text that repeats itself should not fall into single characters.
        cuts.append(cuts[-1] + longest - int(keys[cuts[-1] + 1 : cuts[-1] + longest + 1][::-1].argmax()))
    found = []
    for start, stop in pairwise([*cuts, len(part)]):
        begin = stop - len(part[start:stop].lstrip())
        if begin < stop:
            end = start + len(part[start:stop].rstrip())
            found.append(Atom(atom.start + begin, atom.start + end, Level(int(levels[begin]))))
    return found


def _cut_keys(codes: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Return for the place before each character its level, and a key by which places compare."""
    levels, keys = np.empty(len(codes), np.uint8), np.empty(len(codes), np.uint32)
    for start in range(0, len(codes), _BLOCK):
        lead = max(0, start - _LEAD)
        here = slice(start, start + _BLOCK)
        block_levels, block_keys = _block_keys(codes[lead : start + _BLOCK])
        levels[here], keys[here] = block_levels[start - lead :], block_keys[start - lead :]
    return levels, keys


def _block_keys(codes: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    space, newline = _holds(codes, str.isspace), codes == ord("\n")
    extending = _holds(codes, lambda character: bool(_EXTENDING.match(character)) or category(character)[0] == "M")
    extending[1:] |= codes[:-1] == ord("\u200d")
    last_but_blanks = np.maximum.accumulate(np.where(space & ~newline, 0, np.arange(len(codes))))
    levels = np.zeros(len(codes), np.uint8)
    levels[1:][space[:-1]] = Level.WORD
    levels[1:][newline[last_but_blanks[:-1]]] = Level.NEWLINE
    ranks = np.where(space | extending, 0, levels + 1).astype(np.uint32)
    return levels, ranks << np.uint32(28) | _rolling_hash(codes) >> np.uint32(4)


def _holds(codes: npt.NDArray[np.uint32], test: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
    distinct = np.flatnonzero(np.bincount(codes))
    table = np.zeros(int(distinct[-1]) + 1, np.bool_)
    table[distinct] = [test(chr(code)) for code in distinct]
    return table[codes]


def _rolling_hash(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Hash the 16 characters before each place: every round joins two neighbouring windows."""
    hashes: npt.NDArray[np.uint32] = (codes + np.uint32(1)) * np.uint32(0x9E3779B1)
    hashes ^= hashes >> np.uint32(15)
    for reach in (1, 2, 4, 8):
        hashes[reach:] += hashes[:-reach] * np.uint32(pow(0x85EBCA6B, reach, 1 << 32))
    hashes[1:] = hashes[:-1].copy()
    hashes ^= hashes >> np.uint32(16)
    hashes *= np.uint32(0xC2B2AE35)
    return hashes
