"""An edit of a real document changes few chunks, and chunks of long documents are well filled."""

import importlib.metadata
import json
import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from statistics import mean

import pytest

from tests.support.paths import SHARED_DATA
from udfs.chunking.chunks import Chunk, Reading, chunk_text
from udfs.specs import ChunkSpec

CORPUS = SHARED_DATA / "scifact" / "corpus.jsonl"
TRIALS = 200
LONG = 4
LONGEST_DOCUMENT = 30_000
SENTENCE = re.compile(r"(?<=[.!?])[ \n](?=[A-Z])")
NEW_SENTENCE = "This sentence number {} was not there before, and says {} in passing."


class WordCounter:
    """A token for each mark and for every 6 characters of a word, about as a WordPiece vocabulary has them."""

    def __init__(self) -> None:
        self.count = cache(lambda text: sum((len(word) + 5) // 6 for word in re.findall(r"\w+|[^\w\s]", text)))

    def pieces(self, texts: Sequence[str]) -> list[int]:
        return [self.count(text) for text in texts]

    def inputs(self, texts: Sequence[str]) -> list[int]:
        return [self.count(text) + 2 for text in texts]

    def read(self, texts: Sequence[str]) -> list[Reading]:
        return [Reading(count) for count in self.inputs(texts)]


def abstracts() -> list[str]:
    if not CORPUS.exists():
        pytest.skip(f"{CORPUS.name} is not in the data folder")
    with CORPUS.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line, _ in zip(lines, range(1600), strict=False)]


def joined_abstracts() -> list[str]:
    texts = abstracts()
    return ["\n\n".join(texts[start : start + 12]) for start in range(0, len(texts), 12)]


def package_descriptions() -> list[str]:
    """Return the long READMEs, Markdown and reStructuredText, of the packages installed here."""
    packages = sorted(importlib.metadata.distributions(), key=lambda package: package.metadata["Name"].lower())
    described = (package.metadata.json.get("description") or "" for package in packages)
    found = [str(text)[:LONGEST_DOCUMENT] for text in described if len(text) > 3000]
    if len(found) < LONG:
        pytest.skip("too few packages with a long description are installed")
    return found


def edited(text: str, choice: random.Random) -> str:
    """Insert, delete or replace one sentence at a random place."""
    ends = [0, *(match.end() for match in SENTENCE.finditer(text)), len(text)]
    place = choice.randrange(len(ends) - 1)
    start, end = ends[place], ends[place + 1]
    sentence = NEW_SENTENCE.format(choice.randrange(10**6), choice.choice(["much", "little", "nothing at all"])) + " "
    inserted, dropped = choice.choice([(sentence, False), ("", True), (sentence, True)])
    return text[:start] + inserted + text[end if dropped else start :]


@pytest.mark.parametrize("max_tokens", [128, 256])
@pytest.mark.parametrize("documents", [abstracts, joined_abstracts, package_descriptions])
def test_one_edited_sentence_changes_few_chunks(documents: Callable[[], list[str]], max_tokens: int) -> None:
    spec = ChunkSpec(method="structure", max_tokens=max_tokens, min_tokens=max_tokens // 4)
    counter, choice = WordCounter(), random.Random(20)
    texts = documents()
    before: dict[int, list[Chunk]] = {}
    changed = []
    for _ in range(TRIALS):
        which = choice.randrange(len(texts))
        if which not in before:
            before[which] = chunk_text(texts[which], spec, counter)
        old = {chunk.text for chunk in before[which]}
        after = chunk_text(edited(texts[which], choice), spec, counter)
        changed.append(sum(chunk.text not in old for chunk in after))
    long = [chunk.token_count for chunks in before.values() if len(chunks) >= LONG for chunk in chunks]

    assert mean(changed) <= 1.7
    assert sum(count <= 3 for count in changed) >= 0.97 * TRIALS
    assert mean(long) >= 0.6 * max_tokens


@pytest.mark.parametrize("separator", ["", " "])
def test_an_edit_in_text_without_sentences_changes_few_chunks(separator: str) -> None:
    choice = random.Random(3)
    words = ["".join(choice.choices("abcdefghijklmnopqrstuvwxyz", k=choice.randrange(2, 10))) for _ in range(4000)]
    spec = ChunkSpec(method="structure", max_tokens=64, min_tokens=16)
    old = {chunk.text for chunk in chunk_text(separator.join(words), spec, WordCounter())}
    changed = []
    for _ in range(40):
        place = choice.randrange(len(words))
        new = separator.join([*words[:place], "inserted", *words[place:]])
        changed.append(sum(chunk.text not in old for chunk in chunk_text(new, spec, WordCounter())))
    assert len(old) > 50
    assert mean(changed) <= 3


def test_boundaries_do_not_depend_on_the_distance_from_the_start() -> None:
    texts = package_descriptions()
    text = max(texts, key=len)
    spec = ChunkSpec(method="structure", max_tokens=128, min_tokens=32)
    alone = {chunk.text for chunk in chunk_text(text, spec, WordCounter())}
    behind = {chunk.text for chunk in chunk_text(texts[0] + "\n\n" + text, spec, WordCounter())}
    assert len(alone - behind) <= 3
