"""Texts as a model reads them: token ids, cut to what it sees, with the true counts kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

# An encoding holds some hundred bytes for each token, so that a long list is read in parts.
_PART_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A window of texts after their tokens were counted.

    Attributes:
        items: What a forward pass takes for each text, truncated to what the model sees.
        lengths: Tokens of each item.
        counts: Tokens of each text, prompt and special tokens included, before truncation.
    """

    items: Sequence[Any]
    lengths: list[int]
    counts: list[int]


class TextTokenizer:
    """A tokenizer of its own for one thread: each text is read once, for its count and its ids.

    Args:
        tokenizer: A tokenizer with truncation and padding off.
        prompt: Text the model is given before each text.
        special_tokens: Whether the model adds special tokens; static models do not.
        limit: Most tokens that the model sees, special tokens included; None where it has no limit.
        keeps_end: Whether a text that is too long loses its beginning.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt: str, special_tokens: bool, limit: int | None, keeps_end: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._special_tokens = special_tokens
        self._limit = limit
        self._keeps_end = keeps_end

    def __call__(self, texts: Sequence[str]) -> Tokenized:
        """Reads texts.

        Args:
            texts: Any texts, without the prompt.

        Returns:
            Token ids as int32 arrays, with lengths and counts.
        """
        items: list[NDArray[np.int32]] = []
        counts: list[int] = []
        for part in parts_of([self._prompt + text for text in texts] if self._prompt else texts):
            for encoding in self._tokenizer.encode_batch_fast(part, add_special_tokens=self._special_tokens):
                counts.append(len(encoding))
                items.append(np.asarray(self._cut(encoding), dtype=np.int32))
        return Tokenized(items, [len(item) for item in items], counts)

    def _cut(self, encoding: Encoding) -> list[int]:
        ids: list[int] = encoding.ids
        if self._limit is None or len(ids) <= self._limit:
            return ids
        is_special = encoding.special_tokens_mask
        before = next(place for place, special in enumerate(is_special) if not special)
        after = next(place for place, special in enumerate(reversed(is_special)) if not special)
        own = ids[before : len(ids) - after]
        room = max(0, self._limit - before - after)
        kept = own[len(own) - room :] if self._keeps_end else own[:room]
        return [*ids[:before], *kept, *ids[len(ids) - after :]]


def parts_of(texts: Sequence[str]) -> Iterator[list[str]]:
    """Cuts a list of texts into parts that a tokenizer reads in bounded memory.

    Args:
        texts: Any texts.

    Yields:
        Texts in their order; about a million characters, or one text that is longer.
    """
    part: list[str] = []
    characters = 0
    for text in texts:
        part.append(text)
        characters += len(text)
        if characters >= _PART_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part
