"""Sentences and words in scripts that mark them otherwise than Latin does; of rules 2.

Every rule looks at no more than 24 characters around an offset. Syllables follow published rules: Khmer clusters as in
Huor et al., "Word Bigram vs Orthographic Syllable Bigram in Khmer Word Segmentation", 2004; Lao as in Phissamay et al.,
"Syllabification of Lao Script for Line Breaking", 2004; Burmese as in Ye Kyaw Thu's "sylbreak".
"""

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from udfs.chunking.boundaries import Level, sentence_cuts
from udfs.chunking.characters import Codes, matches
from udfs.chunking.phrases import begins_phrase

# The marks of rules 1 and those of Armenian, Devanagari, Tibetan, Burmese, Ethiopic, Khmer and Mongolian. The wide full
# stop is one only where it is no decimal point, and the Khmer sign not in its word for "and so on".
_SENTENCE_END = re.compile(
    r"([.!?\u2026\u203c\u2047-\u2049\u0589\u061f\u06d4\u0964\u0965\u0f0d\u0f0e\u104b\u1362\u1367\u17d4\u17d5\u1803"
    r"\u3002\uff01\uff0e\uff1f\uff61]++)(?!(?<=\u17d4)\u179b\u17d4|(?<=\uff0e)[0-9A-Za-z\uff10-\uff19])"
    r"[\"'\u2019\u201d\u00bb\u203a)\]}*_\u300d\u300f\u3011\u3015\u300b\uff09]*+"
)
_UNSPACED_ENDS = frozenset(
    "\u061f\u06d4\u0964\u0965\u0f0d\u0f0e\u104b\u1362\u1367\u17d4\u17d5\u3002\uff01\uff0e\uff1f\uff61"
)
# Thai and Lao have no mark for the end of a sentence, and set spaces between phrases. Not behind signs that repeat or
# shorten a word, which have a space of their own.
_PHRASE_SPACE = re.compile(
    "(?<=[\u0e01-\u0e2e\u0e30-\u0e45\u0e47-\u0e4e\u0e81-\u0ec5\u0ec8-\u0ecd])[ \t]++(?=[\u0e01-\u0e44\u0e81-\u0ec4])"
)
_THAI_OR_LAO = re.compile("[\u0e01-\u0eff]")

# Scripts without spaces between words, and commas that need none behind them.
_UNSPACED = re.compile(
    "[\u060c\u061b\u0e01-\u0eff\u0f0b\u1000-\u109f\u1780-\u17d3\u3001-\u30ff\u3400-\u9fff\uff0c\uff1a\uff1b\uff64"
    "\U00020000-\U0003ffff]"
)
_CLAUSE_END = re.compile(
    "[\u060c\u061b\u104a\u3001\uff0c\uff1a\uff1b\uff64]++[\u2019\u201d\u3009\u300b\u300d\u300f\uff09]*+"
)
_KHMER = (
    # Behind a vowel or sign, a final consonant, or a subscript one; and before a consonant that has a vowel of its own,
    # because others may be final.
    "(?:(?<=[\u17b6-\u17d1\u17d3\u17dd])|(?<=[\u17b6-\u17d1\u17d3\u17dd][\u1780-\u17a2])|(?<=\u17d2[\u1780-\u17a2]))"
    "(?:[\u1780-\u17a2](?=(?:\u17d2[\u1780-\u17a2]){0,2}[\u17b6-\u17ca])|[\u17a3-\u17b3])"
)
# What may end a syllable, and vowels and tones above, below and behind a consonant.
_LAO_END, _LAO_VOWEL = "(?<=[\u0e81-\u0ebd\u0ec8-\u0ecd])", "(?=[\u0eb0-\u0ebc\u0ec8-\u0ecd])"
_LAO = (
    "(?<=[\u0e81-\u0ecd])[\u0ec0-\u0ec4]"
    # Two consonants that begin a syllable: a silent one before a liquid or nasal, or one before w.
    f"|{_LAO_END}\u0eab(?=[\u0e87\u0e8d\u0e99\u0ea1\u0ea3\u0ea5\u0ea7][\u0eb0-\u0ebc\u0ec8-\u0ecd])"
    f"|{_LAO_END}[\u0e82\u0e84\u0e88\u0e8a\u0eaa\u0e96\u0e97](?=\u0ea7[\u0eb0-\u0ebc\u0ec8-\u0ecd])"
    f"|{_LAO_END}(?:(?<!\u0eab)[\u0e87\u0e8d\u0e99\u0ea1\u0ea3\u0ea5]|[\u0e81-\u0e84\u0e86\u0e88-\u0e8c\u0e8e-\u0e98"
    f"\u0e9a-\u0ea0\u0ea8-\u0eae\u0edc\u0edd]){_LAO_VOWEL}"
)
_BURMESE = (
    "(?<=[\u1000-\u1038\u103a-\u109f])[\u1000-\u1021\u1023-\u1027\u1029\u102a\u103f\u104c-\u104f]"
    "(?!\u1037?[\u1039\u103a])"
)
_TIBETAN = "(?<=\u0f0b)[\u0f40-\u0fbc]"
_SYLLABLE = re.compile("|".join([_KHMER, _LAO, _BURMESE, _TIBETAN]))

_KANA = re.compile("[\u3041-\u30ff]")
_EAST_ASIAN = re.compile("[\u3005-\u3007\u3041-\u30fa\u30fc-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_THAI = re.compile("[\u0e01-\u0e4e]")
# Text with kana this near is Japanese.
_KANA_REACH = 24


def script_sentence_cuts(text: str) -> dict[int, Level]:
    """Finds the offsets at which a sentence follows another, in any script.

    Args:
        text: Any text.

    Returns:
        `Level.SENTENCE` by offset.
    """
    cuts = sentence_cuts(text, _SENTENCE_END, _UNSPACED_ENDS)
    if _THAI_OR_LAO.search(text):
        cuts.update(dict.fromkeys((match.end() for match in _PHRASE_SPACE.finditer(text)), Level.SENTENCE))
    return cuts


def segment_levels(text: str, codes: Codes) -> npt.NDArray[np.uint8] | None:
    """Finds the boundaries of words that no space separates.

    Args:
        text: A sentence.
        codes: Its code points.

    Returns:
        The level of the boundary before each character, `INSIDE` where there is none; None if the text has no such
        script. Boundaries behind commas count as those behind spaces.
    """
    if not _UNSPACED.search(text):
        return None
    levels = np.zeros(len(codes) + 1, np.uint8)
    levels[_starts(match.start() for match in _SYLLABLE.finditer(text))] = Level.SEGMENT
    levels[:-1][_phrases(codes)] = Level.SEGMENT
    levels[_starts(match.end() for match in _CLAUSE_END.finditer(text))] = Level.WORD
    return levels[:-1]


def _starts(offsets: Iterable[int]) -> npt.NDArray[np.intp]:
    return np.fromiter(offsets, np.intp)


def _phrases(codes: Codes) -> npt.NDArray[np.intp]:
    """Returns the offsets at which phrases of Chinese, Japanese and Thai begin."""
    thai, east, kana, letters = matches(codes, _THAI.match, _EAST_ASIAN.match, _KANA.match, str.isalnum)
    found = []
    if thai.any():
        within = np.flatnonzero(thai[1:] & thai[:-1]) + 1
        found.append(within[begins_phrase("th", codes, within)])
    if east.any():
        letters |= east
        within = np.flatnonzero(letters[1:] & letters[:-1] & (east[1:] | east[:-1])) + 1
        japanese = _near(kana, _KANA_REACH)[within]
        with_kana, without = within[japanese], within[~japanese]
        found.append(with_kana[begins_phrase("ja", codes, with_kana)])
        # Where the models of both ways of writing agree, most cuts are between words, and neither has to be recognized.
        agreed = begins_phrase("zh_hans", codes, without) & begins_phrase("zh_hant", codes, without)
        found.append(without[agreed])
    return np.concatenate([np.empty(0, np.intp), *found])


def _near(mask: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Says of each offset whether the mask holds within reach on either side."""
    counts = np.concatenate([[0], np.cumsum(mask)])
    places = np.arange(len(mask))
    found: npt.NDArray[np.bool_] = counts[np.minimum(places + reach, len(mask))] > counts[np.maximum(places - reach, 0)]
    return found
