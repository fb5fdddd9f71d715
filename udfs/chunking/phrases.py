"""Where phrases begin in Chinese, Japanese and Thai, by the models of BudouX; each looks 3 characters to either side.

The models are the files of the package budoux 0.10.1 (Apache License 2.0, Google LLC). They are part of rules 2, which
must cut alike for as long as spaces made by them exist, so they are kept here and not taken from whichever version is
installed. A model gives a number to each of the one to three characters around an offset, and a phrase begins where
their sum is above half of all its numbers.
"""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from udfs.chunking.characters import Codes, Mask

# The characters, relative to an offset, that each group of a model's numbers is about.
_GROUPS = {
    **{f"UW{number}": (number - 4,) for number in range(1, 7)},
    **{f"BW{number}": (number - 3, number - 2) for number in range(1, 4)},
    **{f"TW{number}": (number - 4, number - 3, number - 2) for number in range(1, 5)},
}
_REACH = 3
_CODE_BITS = np.uint64(21)
# Offsets scored together, so that the arrays stay small however long the text is.
_BLOCK = 1 << 16

Numbers = tuple[tuple[int, ...], npt.NDArray[np.uint64], npt.NDArray[np.int64]]


def begins_phrase(name: str, codes: Codes, offsets: npt.NDArray[np.intp]) -> Mask:
    """Says of each offset whether a phrase begins there.

    Args:
        name: `ja`, `th`, `zh_hans` or `zh_hant`.
        codes: A text, as code points.
        offsets: Offsets in it.

    Returns:
        An answer for each offset.
    """
    total, groups = _model(name)
    padded = np.pad(codes.astype(np.uint64), _REACH)
    found = np.zeros(len(offsets), np.bool_)
    for start in range(0, len(offsets), _BLOCK):
        block = offsets[start : start + _BLOCK] + _REACH
        score = np.full(len(block), -total, np.int64)
        for places, keys, weights in groups:
            wanted = _packed([padded[block + place] for place in places])
            index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            score += np.where(keys[index] == wanted, 2 * weights[index], 0)
        found[start : start + _BLOCK] = score > 0
    return found


@cache
def _model(name: str) -> tuple[int, list[Numbers]]:
    source = files("udfs.chunking").joinpath(f"phrases_{name}.json").read_text(encoding="utf-8")
    groups: dict[str, dict[str, int]] = json.loads(source)
    return sum(sum(group.values()) for group in groups.values()), [
        (places, *_table({key: number for key, number in groups[group].items() if len(key) == len(places)}))
        for group, places in _GROUPS.items()
    ]


def _table(numbers: dict[str, int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    characters = list(zip(*numbers, strict=True))
    keys = _packed([np.array([ord(character) for character in column], np.uint64) for column in characters])
    order = np.argsort(keys)
    return keys[order], np.array(list(numbers.values()), np.int64)[order]


def _packed(columns: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    packed = columns[0]
    for column in columns[1:]:
        packed = packed << _CODE_BITS | column
    return packed
