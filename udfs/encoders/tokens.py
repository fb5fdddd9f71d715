"""Texts as token ids, truncated to the model's limit, with their token counts before truncation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

Ids = TypeVar("Ids", list[int], NDArray[np.int32])
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
        by_words: A faster way to the ids of texts, without special tokens; None if there is none.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: str,
        special_tokens: bool,
        limit: int | None,
        keeps_end: bool = False,
        by_words: Callable[[Sequence[str]], Sequence[NDArray[np.int32]]] | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._special_tokens = special_tokens
        self._limit = limit
        self._keeps_end = keeps_end
        self._by_words = by_words

    def __call__(self, texts: Sequence[str]) -> Tokenized:
        """Tokenizes texts, given without the prompt; the items are int32 arrays of token ids."""
        prompted = [self._prompt + text for text in texts] if self._prompt else texts
        items, counts = self._read(prompted) if self._by_words is None else self._joined(self._by_words(prompted))
        return Tokenized(items, [len(item) for item in items], counts)

    def _read(self, texts: Sequence[str]) -> tuple[list[NDArray[np.int32]], list[int]]:
        items: list[NDArray[np.int32]] = []
        counts: list[int] = []
        for batch in tokenizer_batches(texts):
            for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=self._special_tokens):
                counts.append(len(encoding))
                items.append(np.asarray(self._cut(encoding), dtype=np.int32))
        return items, counts

    def _joined(self, texts: Sequence[NDArray[np.int32]]) -> tuple[list[NDArray[np.int32]], list[int]]:
        # Every text has the same special tokens around it, so any text shows them.
        before, _, after = _parts(self._tokenizer.encode("a", add_special_tokens=self._special_tokens))
        first, last, special = np.asarray(before, np.int32), np.asarray(after, np.int32), len(before) + len(after)
        items = [np.concatenate((first, self._kept(ids, special), last)) for ids in texts]
        return items, [len(ids) + special for ids in texts]

    def _cut(self, encoding: Encoding) -> list[int]:
        if self._limit is None or len(encoding) <= self._limit:
            ids: list[int] = encoding.ids
            return ids
        before, text_ids, after = _parts(encoding)
        return [*before, *self._kept(text_ids, len(before) + len(after)), *after]

    def _kept(self, text_ids: Ids, special: int) -> Ids:
        if self._limit is None or len(text_ids) + special <= self._limit:
            return text_ids
        room = max(0, self._limit - special)
        return text_ids[len(text_ids) - room :] if self._keeps_end else text_ids[:room]


def _parts(encoding: Encoding) -> tuple[list[int], list[int], list[int]]:
    """Divides token ids into the special tokens before a text, the text, and those after it."""
    ids, is_special = encoding.ids, encoding.special_tokens_mask
    before = next(index for index, special in enumerate(is_special) if not special)
    after = next(index for index, special in enumerate(reversed(is_special)) if not special)
    return ids[:before], ids[before : len(ids) - after], ids[len(ids) - after :]


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
