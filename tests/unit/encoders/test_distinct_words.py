"""Ids put together from distinct words are those of whole texts, whatever characters the texts have."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from udfs.encoders import distinct_words as module
from udfs.encoders.distinct_words import DistinctWords, distinct_words
from udfs.encoders.tokens import TextTokenizer

SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# White space of every kind, characters that BERT removes, combining and composed ones, and other scripts.
CHARACTERS = "aabbcé\u0301\u0338≠=σΣİß日本가\u1100\u1161 \t\n\r\x0b\x0c\x1c\x85\u00a0\u3000\u2028\x00\ufffd\u200d\u00ad"
LONGER = ["ab", "cab", "[MASK]", "[SEP]", "<x-y>", "héb", "\U0001f989", "b" * 120]
PIECES = [*CHARACTERS, *"  ..,,-_'()[]{}<>@#$^~|", *LONGER]


def bert(*added: AddedToken, lowercase: bool = True, **options: Any) -> Tokenizer:
    tokens = [*SPECIAL, *"abcé日本=.,-[]", "ab", "##b", "##ab", "##c", "##σ", "σ"]
    tokenizer = Tokenizer(models.WordPiece({token: number for number, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, **options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    around = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=around)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens(list(added))
    return tokenizer


def random_texts(count: int) -> list[str]:
    draw = random.Random(5)
    return ["".join(draw.choices(PIECES, k=draw.randrange(30))) for _ in range(count)]


@pytest.mark.parametrize(
    "tokenizer",
    [
        bert(),
        bert(lowercase=False),
        bert(strip_accents=False, handle_chinese_chars=False, clean_text=False),
        bert(
            AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False),
            AddedToken("<x-y>", normalized=False),
            AddedToken("a≠b", normalized=True),
        ),
    ],
    ids=["lowercase", "cased", "nothing cleaned", "added tokens"],
)
def test_ids_equal_those_of_whole_texts(tokenizer: Tokenizer) -> None:
    texts = [*random_texts(3000), "a=b", "a≠b", "<x-y>", "", " ", "a\x1cb", "a\x0bb"]
    by_words = distinct_words(tokenizer)
    assert by_words is not None
    expected = tokenizer.encode_batch(texts, add_special_tokens=False)
    assert [ids.tolist() for ids in by_words(texts)] == [encoding.ids for encoding in expected]


@pytest.mark.parametrize("limit", [None, 2, 5, 12])
@pytest.mark.parametrize("keeps_end", [False, True])
def test_windows_equal_those_of_whole_texts(limit: int | None, keeps_end: bool) -> None:
    tokenizer, texts = bert(), random_texts(300)
    whole = TextTokenizer(tokenizer, "a: ", True, limit, keeps_end)(texts)
    found = TextTokenizer(tokenizer, "a: ", True, limit, keeps_end, distinct_words(tokenizer))(texts)
    assert [item.tolist() for item in found.items] == [item.tolist() for item in whole.items]
    assert (found.lengths, found.counts) == (whole.lengths, whole.counts)
    assert {item.dtype for item in found.items} == {np.dtype(np.int32)}


class Spy:
    """A tokenizer that remembers which words it read."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._tokenizer = bert()

    def encode_batch(self, inputs: Sequence[Sequence[str]], **options: Any) -> Any:
        self.words += [word for words in inputs for word in words]
        return self._tokenizer.encode_batch(inputs, **options)


def test_each_distinct_word_of_all_batches_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "tokenizer_batches", lambda texts: ([text] for text in texts))
    spy: Any = Spy()
    found = DistinctWords(spy, frozenset())(["ab, ab\nab,", "", "b ab, b"] * 50)
    assert sorted(spy.words) == sorted(["ab", ",", " ab", "\nab", "b", " b"])
    assert [ids.tolist() for ids in found] == [[16, 12, 16, 16, 12], [], [5, 16, 12, 5]] * 50


def test_nothing_has_no_words() -> None:
    by_words = distinct_words(bert())
    assert by_words is not None
    assert (by_words([]), [ids.tolist() for ids in by_words(["", ""])]) == ([], [[], []])


def other(**parts: Any) -> Tokenizer:
    tokenizer = bert()
    for name, value in parts.items():
        setattr(tokenizer, name, value)
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer",
    [
        other(normalizer=normalizers.NFC()),
        other(pre_tokenizer=pre_tokenizers.Metaspace()),
        other(model=models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")),
        bert(AddedToken("a b")),
        bert(AddedToken("日", normalized=True)),
        bert(AddedToken("ab", single_word=True)),
    ],
    ids=["normalizer", "pre-tokenizer", "model", "a space", "spaces around", "a single word"],
)
def test_tokens_that_may_reach_across_words_need_whole_texts(tokenizer: Tokenizer) -> None:
    assert distinct_words(tokenizer) is None
