"""Characters as arrays of code points: which of them pass a test, and which may not be separated from the one before.

No cut is made within a cluster (roughly Unicode Standard Annex #29) while another offset is within reach. Rules 2 also
keep together what a reader would: stacked consonants, vowels written beside their consonant, flags, and marks that may
not begin or end a line in Chinese and Japanese (classes CL, NS and OP of Unicode Standard Annex #14).
"""

import re
from collections.abc import Callable
from unicodedata import category, combining

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]

# Joiners, Hangul vowels, skin tones and tags. Together with combining marks they are roughly the class Extend of
# Unicode Standard Annex #29.
_EXTENDING = re.compile("[\u200c\u200d\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
_NEVER_FIRST = re.compile(
    # Vowels of Thai and Lao that follow their consonant.
    "[\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3\u0ebd"
    # Closing marks, small kana, the mark of a long vowel and of a repeated sign.
    "\u3001\u3002\u3005\u3009\u300b\u300d\u300f\u3011\u3015\u3041\u3043\u3045\u3047\u3049\u3063\u3083\u3085\u3087"
    "\u308e\u309d\u309e\u30a1\u30a3\u30a5\u30a7\u30a9\u30c3\u30e3\u30e5\u30e7\u30ee\u30f5\u30f6\u30fb\u30fc\u30fd\u30fe"
    "\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\uff61\uff64"
    # The mark that separates syllables of Tibetan.
    "\u0f0b\u0f0c]"
)
# Vowels of Thai and Lao that precede their consonant, and opening marks.
_NEVER_LAST = re.compile("[\u0e40-\u0e44\u0ec0-\u0ec4\u3008\u300a\u300c\u300e\u3010\u3014\uff08\u17d2]")
_VIRAMA = 9
# These end a syllable, and what follows is the next one.
_NOT_STACKING = frozenset("\u0e3a\u0eba\u103a")
_FLAG_LETTER = re.compile("[\U0001f1e6-\U0001f1ff]")
_FEW_CODES = 20_000


def matches(codes: Codes, *tests: Callable[[str], object]) -> list[Mask]:
    """Says of each character which tests it passes; each distinct one is tested once."""
    # Counting goes up to the highest code point, a million with an emoji. Only for long texts is sorting slower.
    distinct = np.unique(codes) if len(codes) < _FEW_CODES else np.flatnonzero(np.bincount(codes))
    characters = [chr(code) for code in distinct]
    found = []
    for test in tests:
        table = np.zeros(int(distinct[-1]) + 1, np.bool_)
        table[distinct] = [bool(test(character)) for character in characters]
        found.append(table[codes])
    return found


def spaces_and_held(codes: Codes, rules: int) -> tuple[Mask, Mask]:
    """Says which characters are blank, and which are held to the one before them.

    Args:
        codes: A text, as code points.
        rules: Which rules; 2 hold more.

    Returns:
        Two masks.
    """
    if rules == 1:
        space, held = matches(codes, str.isspace, _extends)
    else:
        tests = str.isspace, _extends, _NEVER_FIRST.match, _holds_next, _FLAG_LETTER.match
        space, held, never_first, holds_next, flags = matches(codes, *tests)
        held |= never_first
        held[1:] |= holds_next[:-1] | (flags[1:] & flags[:-1])
    held[1:] |= codes[:-1] == ord("\u200d")
    return space, held


def _extends(character: str) -> bool:
    return bool(_EXTENDING.match(character)) or category(character)[0] == "M"


def _holds_next(character: str) -> bool:
    stacks = combining(character) == _VIRAMA and character not in _NOT_STACKING
    return stacks or bool(_NEVER_LAST.match(character))
