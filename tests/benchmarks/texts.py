"""The texts that are embedded: abstracts of mixed length, short pages, and very short definitions."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.validate.real_data import MODEL, read_corpus, read_steps  # noqa: E402

__all__ = ["MODEL", "ROOT", "mixed", "passages", "short", "synsets"]


def mixed(count: int) -> list[str]:
    """Takes abstracts of SciFact with their titles, evenly over the file.

    Args:
        count: Texts wanted.

    Returns:
        The texts.
    """
    return _evenly([f"{document['title']} {document['text']}".strip() for document in read_corpus()], count)


def short(count: int) -> list[str]:
    """Takes tldr pages, evenly over the newest snapshot.

    Args:
        count: Texts wanted.

    Returns:
        The texts.
    """
    return _evenly([document["text"] for document in read_steps("tldr-en", ["2026-01-01"])[0].documents], count)


def passages(count: int) -> list[str]:
    """Takes pairs of neighboring sentences of SciFact's abstracts, evenly over all of them.

    Args:
        count: Texts wanted.

    Returns:
        The texts, of 300 characters on average.
    """
    sentences = [re.split(r"(?<=[.!?]) +", document["text"]) for document in read_corpus()]
    pairs = [" ".join(each[number : number + 2]) for each in sentences for number in range(0, len(each) - 1, 2)]
    return _evenly(pairs, count)


def synsets() -> list[str]:
    """Takes every definition of the newer WordNet.

    Returns:
        About 120,000 texts.
    """
    return [document["text"] for document in read_steps("wordnet", ["2024-edition"])[0].documents]


def _evenly(texts: list[str], count: int) -> list[str]:
    count = min(count, len(texts))
    return [texts[number * len(texts) // count] for number in range(count)]
