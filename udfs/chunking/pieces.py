"""Cuts a sentence that is too long for a chunk: at newlines and between words, and inside words that are too long.

The characters near an offset decide, so an edit elsewhere in the sentence does not move a cut.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from udfs.chunking.boundaries import Atom, Level
from udfs.chunking.characters import Codes, spaces_and_held
from udfs.chunking.scripts import segment_levels

# Characters processed together, so that the arrays fit in the processor's cache however long the text is.
_BLOCK = 1 << 17
# Characters that a block needs before its start. The hash looks back 16, and few runs of blanks are longer than this.
_LEAD = 1 << 10


def pieces(text: str, atom: Atom, longest: int, rules: int = 1) -> list[Atom]:
    """Cuts an atom that is too long for a chunk at newlines and between words, and inside words that are too long.

    Inside a word, the 16 characters before an offset decide, so a change elsewhere does not move a cut. A cut separates
    a character from its combining marks only if no other offset is within reach.

    Args:
        text: The text that contains the atom.
        atom: The atom to cut.
        longest: Maximum number of characters in a piece; at least 1.
        rules: Which rules; 2 know the words of scripts without spaces.

    Returns:
        Pieces in order; the first has the level of the atom.
    """
    atom_text = text[atom.start : atom.end]
    codes = np.frombuffer(atom_text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    levels, keys = _cut_keys(codes, segment_levels(atom_text, codes) if rules > 1 else None, rules)
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


def _cut_keys(
    codes: Codes, segments: npt.NDArray[np.uint8] | None, rules: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Returns the level of the boundary before each character, and a key for comparing boundaries."""
    levels, keys = np.empty(len(codes), np.uint8), np.empty(len(codes), np.uint32)
    for start in range(0, len(codes), _BLOCK):
        lead = max(0, start - _LEAD)
        block = slice(start, start + _BLOCK)
        with_lead = codes[lead : start + _BLOCK]
        known = None if segments is None else segments[lead : start + _BLOCK]
        block_levels, block_keys = _block_keys(with_lead, known, rules)
        levels[block], keys[block] = block_levels[start - lead :], block_keys[start - lead :]
    return levels, keys


def _block_keys(
    codes: Codes, segments: npt.NDArray[np.uint8] | None, rules: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    (space, held), newline = spaces_and_held(codes, rules), codes == ord("\n")
    last_but_blanks = np.maximum.accumulate(np.where(space & ~newline, 0, np.arange(len(codes))))
    levels = np.zeros(len(codes), np.uint8) if segments is None else segments.copy()
    levels[1:][space[:-1]] = Level.WORD
    levels[1:][newline[last_but_blanks[:-1]]] = Level.NEWLINE
    ranks = np.where(space | held, 0, levels + 1).astype(np.uint32)
    return levels, ranks << np.uint32(28) | _rolling_hash(codes) >> np.uint32(4)


def _rolling_hash(codes: Codes) -> npt.NDArray[np.uint32]:
    """Hashes the 16 characters before each offset: every round combines two neighboring windows."""
    hashes: npt.NDArray[np.uint32] = (codes + np.uint32(1)) * np.uint32(0x9E3779B1)
    hashes ^= hashes >> np.uint32(15)
    for reach in (1, 2, 4, 8):
        hashes[reach:] += hashes[:-reach] * np.uint32(pow(0x85EBCA6B, reach, 1 << 32))
    hashes[1:] = hashes[:-1].copy()
    hashes ^= hashes >> np.uint32(16)
    hashes *= np.uint32(0xC2B2AE35)
    return hashes
