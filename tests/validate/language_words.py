"""Holds the words that rules 2 see to those of ICU, and libraries that find words to what chunking needs of them.

Needs packages that the project does not. What is absent is left out.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from itertools import accumulate
from typing import Any

import numpy as np

from tests.validate.language_texts import declarations
from tests.validate.outcome import Outcome
from udfs.chunking.scripts import segment_levels

LETTERS = {
    "Chinese, simplified": ("zh", "\u4e00-\u9fff"),
    "Chinese, traditional": ("zh", "\u4e00-\u9fff"),
    "Japanese": ("ja", "\u3040-\u30ff\u4e00-\u9fff"),
    "Thai": ("th", "\u0e00-\u0e7f"),
    "Khmer": ("km", "\u1780-\u17d3"),
    "Lao": ("lo", "\u0e80-\u0eff"),
    "Burmese": ("my", "\u1000-\u1049\u104c-\u109f"),
}
EDITS, LONGEST, TIMED, COMMON = 60, 6_000, 100_000, 8
Find = Callable[[str], set[int]]


def words(outcome: Outcome) -> None:
    """Measures how many of the boundaries that rules 2 offer are boundaries of ICU's words too.

    Args:
        outcome: Takes what is found.
    """
    icu = _icu()
    if icu is None:
        return
    outcome.measured(compared_with=f"words of ICU by icu4py {version('icu4py')}, in text without spaces")
    for name, run in _runs().items():
        ours, theirs = _ours(run), icu(LETTERS[name][0])(run)
        by_chance = len(theirs) / len(run)
        share = len(ours & theirs) / len(ours)
        outcome.at_least(f"{name}: share of boundaries that are ICU's", share, by_chance + 0.15)
        every = len(run) / len(ours)
        outcome.measured(**{f"{name}: share of all offsets that are": by_chance, f"{name}: letters a boundary": every})


def libraries(outcome: Outcome) -> None:
    """Measures how far an edit reaches, and how long a text of 100,000 letters without spaces takes.

    Args:
        outcome: Takes what is found.
    """
    for name, run in _runs().items():
        for library, find in _libraries(name).items():
            edits = _reach(find, run)
            repeated = max(_reach_in_repetition(find, letter) for letter, _ in Counter(run).most_common(COMMON))
            long = (run * (TIMED // len(run) + 1))[:TIMED]
            began = time.process_time()
            find(long)
            seconds = time.process_time() - began
            outcome.measured(
                **{
                    f"{name}, {library}": f"edits move boundaries at most {edits} letters away, and where one letter "
                    f"is repeated {LONGEST:,} times {repeated:,}; {seconds:.2f} s"
                }
            )


def _runs() -> dict[str, str]:
    written = {texts.name: texts.documents[0] for texts in declarations() if texts.name in LETTERS}
    return {name: "".join(re.findall(f"[{LETTERS[name][1]}]", text))[:LONGEST] for name, text in written.items()}


def _ours(text: str) -> set[int]:
    levels = segment_levels(text, np.frombuffer(text.encode("utf-32-le"), "<u4"))
    return set() if levels is None else set(np.flatnonzero(levels).tolist())


def _reach(find: Find, run: str) -> int:
    """Returns the largest distance from a changed letter to a boundary that it moved."""
    choice, before, furthest = random.Random(1), find(run), [0]
    for _ in range(EDITS):
        place = choice.randrange(len(run))
        after = find(run[:place] + choice.choice(run) + run[place + 1 :])
        furthest.append(max((abs(offset - place) for offset in before ^ after), default=0))
    return max(furthest)


def _reach_in_repetition(find: Find, letter: str) -> int:
    """Puts one more letter in front of a repeated one; returns how far behind it boundaries still move."""
    text = letter * LONGEST
    before, after = ({len(each) - offset for offset in find(each)} for each in (text, letter + text))
    return max((len(text) - offset for offset in before ^ after if offset < len(text)), default=0)


def _icu() -> Callable[[str], Find] | None:
    with suppress(ImportError):
        breaker = import_module("icu4py.breakers").WordBreaker
        return lambda locale: lambda text: {segment[1] for segment in breaker(text, locale).segments()} - {len(text)}
    return None


def _libraries(name: str) -> dict[str, Find]:
    found: dict[str, Find] = {"rules 2": _ours}
    icu = _icu()
    if icu is not None:
        found[f"icu4py {version('icu4py')}"] = icu(LETTERS[name][0])
    others: dict[str, tuple[str, Callable[[Any], Callable[[str], list[str]]]]] = {
        "Thai": ("pythainlp", lambda module: module.word_tokenize),
        "Khmer": ("khmercut", lambda module: module.tokenize),
        "Lao": ("laonlp", lambda module: module.word_tokenize),
    }
    with suppress(ImportError, KeyError):
        library, tokenizer = others[name]
        cut = tokenizer(import_module(library))
        found[f"{library} {version(library)}"] = lambda text: set(accumulate(map(len, cut(text)))) - {len(text)}
    return found
