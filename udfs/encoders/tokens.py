"""Texts as token ids, truncated to the model's limit, with their token counts before truncation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

# An encoding takes about a hundred bytes per token, so a long list is processed in batches.
_BATCH_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A tokenized window of texts.

    Attributes:
        items: The input of the forward pass for each text, truncated to the model's limit.
        lengths: Tokens of each item.
        counts: Tokens of each text, including prompt and special tokens, before truncation.
    """

    items: Sequence[Any]
    lengths: list[int]
    counts: list[int]


class TextTokenizer:
    """Reads each text once for both its ids and its count. Only one thread may use a tokenizer.

    Args:
        tokenizer: A tokenizer without truncation and padding.
        prompt: Text put before each text.
        special_tokens: Whether the model adds special tokens; static models do not.
        limit: Maximum number of tokens that the model sees, including special tokens; None if it has no limit.
        keeps_end: Whether truncation removes the beginning of a text instead of its end.
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
        """Tokenizes texts, given without the prompt; the items are int32 arrays of token ids."""
        items: list[NDArray[np.int32]] = []
        counts: list[int] = []
        for batch in tokenizer_batches([self._prompt + text for text in texts] if self._prompt else texts):
            for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=self._special_tokens):
                counts.append(len(encoding))
                items.append(np.asarray(self._cut(encoding), dtype=np.int32))
        return Tokenized(items, [len(item) for item in items], counts)

    def _cut(self, encoding: Encoding) -> list[int]:
        ids: list[int] = encoding.ids
        if self._limit is None or len(ids) <= self._limit:
            return ids
        is_special = encoding.special_tokens_mask
        before = next(index for index, special in enumerate(is_special) if not special)
        after = next(index for index, special in enumerate(reversed(is_special)) if not special)
        text_ids = ids[before : len(ids) - after]
        room = max(0, self._limit - before - after)
        kept = text_ids[len(text_ids) - room :] if self._keeps_end else text_ids[:room]
        return [*ids[:before], *kept, *ids[len(ids) - after :]]


def tokenizer_batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Divides texts, in order, into batches of about a million characters, to limit the tokenizer's memory."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
