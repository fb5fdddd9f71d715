"""Tokenizes each distinct word of many texts once, with tokenizers in which words do not affect each other.

Texts repeat their words: 12,000 abstracts and short pages have 2.8 million, of which 83,000 are distinct. Tokenizing
only those takes a tenth of the time, and almost all of what remains is array work that releases Python's lock.
"""

import string
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from udfs.encoders.tokens import tokenizer_batches

Item = TypeVar("Item")
Result = TypeVar("Result")
# BERT's tokenizers separate words at these. At other white space they do not: form feeds are removed, for example.
_SPACES = " \t\n\r"
# What a byte does to the text around it. A space is joined to the word after it, so that a word between two spaces and
# one before a comma are the same.
_STARTS_WORD, _IS_WORD = 1, 3
# Words in one input of the tokenizer: few enough for all cores to have work.
_GROUP = 128
# Batches in work at the same time, each a little memory; the tokenizer itself uses all cores.
_THREADS = 4


class DistinctWords:
    """Token ids of texts, put together from those of their distinct words. Made by `distinct_words`.

    Args:
        tokenizer: A tokenizer without truncation and padding.
        kept_whole: Characters that texts are not cut at, because tokens for whole words contain them.
    """

    def __init__(self, tokenizer: Tokenizer, kept_whole: frozenset[str]) -> None:
        self._tokenizer = tokenizer
        kinds = bytearray(256)
        for character in _SPACES:
            kinds[ord(character)] = _STARTS_WORD
        for character in frozenset(string.punctuation) - kept_whole:
            kinds[ord(character)] = _IS_WORD
        self._kinds = bytes(kinds)

    def __call__(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Tokenizes texts; returns the ids of each, without the special tokens around it."""
        batches = _in_threads(self._words, list(tokenizer_batches(texts)))
        if not batches:
            return []
        words: Any = pa.chunked_array([words for words, _ in batches]).unify_dictionaries().chunks
        tokens = self._read(words[0].dictionary.to_pylist())
        taken = _in_threads(lambda batch: tokens.take(batch.indices), words)
        return [ids for lists, (_, bounds) in zip(taken, batches, strict=True) for ids in _of_texts(lists, bounds)]

    def _words(self, texts: list[str]) -> tuple[Any, NDArray[np.int64]]:
        """Lists the words of all texts as a dictionary array, with the index at which each text begins, and the end."""
        column: Any = pa.array(texts, pa.large_string())
        _, offsets, data = column.buffers()
        bounds = np.frombuffer(offsets, np.int64)[: len(texts) + 1]
        data = data.slice(0, int(bounds[-1])) if bounds[-1] else pa.py_buffer(b"")
        starts: Any = self._starts(data.to_pybytes(), bounds)
        words = pa.LargeStringArray.from_buffers(len(starts) - 1, pa.py_buffer(starts), data)
        return words.dictionary_encode(), np.searchsorted(starts, bounds)

    def _starts(self, data: bytes, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Finds the bytes at which words start, texts in any case, and the end of the last one."""
        kinds = np.frombuffer(data.translate(self._kinds), np.uint8)
        is_start = np.zeros(len(data) + 1, np.uint8)
        is_start[:-1] = kinds & 1
        is_start[1:] |= kinds >> 1
        is_start[bounds] = 1
        return np.flatnonzero(is_start.view(np.bool_))

    def _read(self, words: list[str]) -> Any:
        """Reads the token ids of each word into a list array."""
        groups = [words[start : start + _GROUP] for start in range(0, len(words), _GROUP)]
        encodings = self._tokenizer.encode_batch(groups, is_pretokenized=True, add_special_tokens=False)
        counts, ids = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
        for group, encoding in zip(groups, encodings, strict=True):
            counts.append(np.bincount(np.asarray(encoding.word_ids, np.int64), minlength=len(group)))
            ids.append(np.asarray(encoding.ids, np.int32))
        ends: Any = pa.array(np.cumsum(np.concatenate(counts)))
        return pa.LargeListArray.from_arrays(ends, pa.array(np.concatenate(ids)))


def distinct_words(tokenizer: Tokenizer) -> DistinctWords | None:
    """Creates the fast way to token ids, if the tokenizer reads each word as if it were alone.

    Args:
        tokenizer: A tokenizer without truncation and padding.

    Returns:
        None for tokenizers of another kind than BERT's, and for those with added tokens that reach across words.
    """
    normalizer = tokenizer.normalizer
    is_bert = isinstance(normalizer, BertNormalizer) and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
    if not is_bert or not isinstance(tokenizer.model, WordPiece):
        return None
    added = tokenizer.get_added_tokens_decoder().values()
    # Some of them are looked for in normalized text.
    written = "".join(token.content + normalizer.normalize_str(token.content) for token in added)
    # A token of a single word is found only if no letter is beside it.
    if any(token.single_word for token in added) or any(character.isspace() for character in written):
        return None
    return DistinctWords(tokenizer, frozenset(written))


def _of_texts(lists: Any, bounds: NDArray[np.int64]) -> list[NDArray[np.int32]]:
    """Joins the lists of the words of each text."""
    ids, ends = lists.values.to_numpy(), lists.offsets.to_numpy()[bounds]
    return [ids[start:end] for start, end in pairwise(ends)]


def _in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    # A question or a small batch is not worth a thread.
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))
