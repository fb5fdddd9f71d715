"""Stability, fill and time of chunking by rules 1 and 2, on real text in many scripts and on real Markdown.

Run by `make validate-languages`, or with the names of parts: english, scripts, manuals, words, libraries. The last two
need packages that the project does not (icu4py, pythainlp, khmercut, laonlp), and are left out where these are absent:
words are held to those of ICU, and libraries that find words to what chunking needs of them.
"""

import argparse
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.unit.chunking.test_stability import WordCounter  # noqa: E402
from tests.validate.language_texts import Texts, declarations, english, fetch, manuals  # noqa: E402
from tests.validate.language_words import libraries, words  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.real_data import MODEL  # noqa: E402
from udfs.chunking.chunks import Chunk, TokenCounter, chunk_text  # noqa: E402
from udfs.encoders.token_counter import load_token_counter  # noqa: E402
from udfs.models.source import describe_model  # noqa: E402
from udfs.specs import ChunkSpec  # noqa: E402

RESULTS = ROOT / "tests" / "validate" / "results" / "languages.json"
TRIALS, LONG = 100, 4
# A declaration is one document of a few dozen chunks, so many sizes are tried, each of which cuts it elsewhere.
SIZES = (48, 56, 64, 80, 96, 112, 128, 160)
# Of 800 trials, a share may differ by this much by chance alone: twice the standard error of a difference at 95 %.
NOISE, SLOWER = 0.022, 1.3
_LONGEST_SENTENCE = 400
# Characters of scripts whose words have no spaces; multilingual vocabularies have about one token for two of them.
_UNSPACED = "\u0e01-\u0eff\u0f40-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff"
# Vowel signs that belong to words of Arabic and Devanagari, and that Python does not count among letters.
_SIGNS = "\u0610-\u061a\u064b-\u065f\u0900-\u0903\u093a-\u094f"
_TOKEN = re.compile(rf"[{_UNSPACED}]+|(?:[^\W{_UNSPACED}]|[{_SIGNS}])+|[^\w\s{_UNSPACED}]")


class Counter(WordCounter):
    """A token for each mark, for every 6 letters of a word, and for every 2 of scripts without spaces."""

    def __init__(self) -> None:
        self.count = cache(lambda text: sum(map(_tokens, _TOKEN.findall(text))))


def _tokens(word: str) -> int:
    return (len(word) + 1) // 2 if re.match(rf"[{_UNSPACED}]", word) else (len(word) + 5) // 6


def edited(text: str, sentence: re.Pattern[str], choice: random.Random) -> str:
    """Inserts, deletes or replaces one sentence at a random place; a new one is put together of two others."""
    ends = [0, *sorted({match.end() for match in sentence.finditer(text)} - {0, len(text)}), len(text)]
    # What is longer is no sentence but a table or a block of code without the marks that are looked for.
    spans = [(start, end) for start, end in pairwise(ends) if end - start <= _LONGEST_SENTENCE] or [(0, 0)]
    (start, end), (a, b), (c, d) = choice.choice(spans), choice.choice(spans), choice.choice(spans)
    new = f"{text[a : (a + b) // 2]} {choice.randrange(10**6)} {text[(c + d) // 2 : d]}"
    inserted, dropped = choice.choice([(new, False), ("", True), (new, True)])
    return text[:start] + inserted + text[end if dropped else start :]


def measure(texts: Texts, rules: int) -> tuple[float, float, float]:
    """Edits documents; returns the share of trials with at most 3 changed chunks, their mean, and the fill."""
    counter, choice = Counter(), random.Random(20)
    changed, filled = list[int](), list[float]()
    for most in SIZES:
        spec = ChunkSpec(method="structure", max_tokens=most, min_tokens=most // 4, rules=rules)
        before: dict[int, list[Chunk]] = {}
        for _ in range(TRIALS):
            which = choice.randrange(len(texts.documents))
            if which not in before:
                before[which] = chunk_text(texts.documents[which], spec, counter)
            old = {chunk.text for chunk in before[which]}
            after = chunk_text(edited(texts.documents[which], texts.sentence, choice), spec, counter)
            changed.append(sum(chunk.text not in old for chunk in after))
        long = (chunks for chunks in before.values() if len(chunks) >= LONG)
        filled += [chunk.token_count / most for chunks in long for chunk in chunks]
    return sum(count <= 3 for count in changed) / len(changed), mean(changed), mean(filled or [0])


def seconds(texts: Texts, counter: TokenCounter, rounds: int) -> tuple[float, float]:
    """Returns the processor time in which each rules cut all documents: the best of rounds in turn."""
    best = [float("inf")] * 2
    for _ in range(rounds):
        for rules in (1, 2):
            spec = ChunkSpec(method="structure", max_tokens=128, min_tokens=32, rules=rules)
            began = time.process_time()
            for document in texts.documents:
                chunk_text(document, spec, counter)
            best[rules - 1] = min(best[rules - 1], time.process_time() - began)
    return best[0], best[1]


def compare(outcome: Outcome, sets: Sequence[Texts], *, is_english: bool) -> None:
    """Measures both rules on sets of documents, and holds rules 2 to what is asked of them."""
    tokenizer = load_token_counter(describe_model(str(MODEL)), "") if is_english else None
    for texts in sets:
        characters = sum(map(len, texts.documents))
        outcome.measured(**{texts.name: f"{len(texts.documents)} documents, {characters:,} characters: {texts.origin}"})
        (share1, mean1, fill1), (share2, mean2, fill2) = (measure(texts, rules) for rules in (1, 2))
        least = min(0.97, share1 - NOISE)
        outcome.at_least(f"{texts.name}: trials with at most 3 changed chunks", share2, least)
        outcome.measured(
            **{
                f"{texts.name}: the same by rules 1": share1,
                f"{texts.name}: chunks changed by an edit, rules 1 and 2": f"{mean1:.2f}, {mean2:.2f}",
                f"{texts.name}: fill, rules 1 and 2": f"{fill1:.3f}, {fill2:.3f}",
            }
        )
        if tokenizer is not None:
            first, second = seconds(texts, tokenizer, 3)
            outcome.at_most(f"{texts.name}: time of rules 2 over rules 1, tokens counted", second / first, SLOWER)
        first, second = seconds(texts, Counter(), 8)
        outcome.measured(
            **{
                f"{texts.name}: the same without counting tokens": second / first,
                f"{texts.name}: million characters a second without counting tokens": characters / second / 1e6,
            }
        )


PARTS: dict[str, Callable[[Outcome], None]] = {
    "english": lambda outcome: compare(outcome, english(), is_english=True),
    "scripts": lambda outcome: compare(outcome, declarations(), is_english=False),
    "manuals": lambda outcome: compare(outcome, manuals(), is_english=False),
    "words": words,
    "libraries": libraries,
}


def main() -> None:
    """Runs the parts that were asked for; exits with 1 if a check does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=list(PARTS), metavar="PART")
    parts = parser.parse_args().parts
    fetch()
    faults = []
    for part in parts:
        outcome = Outcome(part)
        PARTS[part](outcome)
        if outcome.checks or outcome.figures:
            write_outcome(RESULTS, outcome, "make validate-languages")
        faults += outcome.faults
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
