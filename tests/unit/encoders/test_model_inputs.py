"""Texts are tokenized once and batches built from ids, with the inputs that sentence-transformers would build."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from udfs.encoders import model_inputs
from udfs.encoders.inputs import InputRule
from udfs.encoders.model_inputs import build_bags, read_and_build, same_features
from udfs.encoders.tokens import TextTokenizer
from udfs.models.source import describe_model
from udfs.specs import ModelSpec

TEXTS = ["a", "Who hunts at night?", "", "[SEP] [CLS]", "ÜBER \U0001f989 日本語", "night " * 400]


def words(limit: int | None, keeps_end: bool = False, prompt: str = "") -> TextTokenizer:
    vocabulary = {word: number for number, word in enumerate("? <s> </s> a b c d e f query".split())}  # noqa: SIM905
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return TextTokenizer(tokenizer, prompt, special_tokens=True, limit=limit, keeps_end=keeps_end)


@pytest.mark.parametrize(
    ("limit", "keeps_end", "expected"),
    [
        (None, False, [1, 3, 4, 5, 6, 2]),
        (6, False, [1, 3, 4, 5, 6, 2]),
        (5, False, [1, 3, 4, 5, 2]),
        (5, True, [1, 4, 5, 6, 2]),
        (3, False, [1, 3, 2]),
        (2, False, [1, 2]),
        (1, False, [1, 2]),
    ],
)
def test_a_text_that_is_too_long_keeps_its_special_tokens(
    limit: int | None, keeps_end: bool, expected: list[int]
) -> None:
    found = words(limit, keeps_end)(["a b c d"])
    assert (found.items[0].tolist(), found.lengths, found.counts) == (expected, [len(expected)], [6])


def test_the_prompt_is_tokenized_before_each_text() -> None:
    found = words(None, prompt="query ")(["a", "b c"])
    assert [item.tolist() for item in found.items] == [[1, 9, 3, 2], [1, 9, 4, 5, 2]]


def test_many_characters_are_read_in_parts() -> None:
    texts = ["a " * 300_000, "b", "c " * 300_000]
    assert words(10)(texts).counts == [300_002, 3, 300_002]


@pytest.mark.parametrize(
    ("left", "ids", "mask"),
    [
        (False, [[7, 8, 9], [5, 0, 0]], [[1, 1, 1], [1, 0, 0]]),
        (True, [[7, 8, 9], [0, 0, 5]], [[1, 1, 1], [0, 0, 1]]),
    ],
)
def test_padding_matches_values_written_by_hand(left: bool, ids: list[list[int]], mask: list[list[int]]) -> None:
    rows = [np.array([7, 8, 9], dtype=np.int32), np.array([5], dtype=np.int32)]
    rule = InputRule(pad_id=0, token_type_ids=True, pads_left=left, keeps_end=False, by_words=False)
    found = rule.features(rows)
    assert {name: value.tolist() for name, value in found.items()} == {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": [[0] * 3] * 2,
    }
    assert "token_type_ids" not in replace(rule, token_type_ids=False).features(rows)


def test_bags_match_values_written_by_hand() -> None:
    rows = [np.array(ids, dtype=np.int32) for ids in ([7, 8, 9], [], [5])]
    assert {name: value.tolist() for name, value in build_bags(rows).items()} == {
        "input_ids": [7, 8, 9, 5],
        "offsets": [0, 3, 3],
    }


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(model_folder), device="cpu", local_files_only=True).eval()


@pytest.fixture(scope="module")
def spec(model_folder: Path) -> ModelSpec:
    return describe_model(str(model_folder))


@pytest.mark.parametrize("prompt", ["", "query: "])
def test_features_match_the_librarys_own(model: Any, spec: ModelSpec, prompt: str) -> None:
    tokenize, build = read_and_build(model, spec, prompt)
    assert isinstance(tokenize, TextTokenizer)
    found, expected = build(tokenize(TEXTS).items), model.preprocess(TEXTS, prompt=prompt)
    assert same_features({name: value for name, value in found.items() if name in _tensors(expected)}, expected)
    assert {name: found[name] for name in found if name not in _tensors(expected)} == {
        name: expected[name] for name in expected if name not in _tensors(expected)
    }


def test_the_library_tokenizes_where_ids_would_not_give_the_same(
    model: Any, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_ids = read_and_build(model, spec, "query: ")[0](TEXTS)
    monkeypatch.setattr(model_inputs, "padded_builder", lambda *_: lambda rows: {})
    tokenize, build = read_and_build(model, spec, "query: ")
    found = tokenize(TEXTS)
    assert (found.items, found.lengths, found.counts) == (TEXTS, by_ids.lengths, by_ids.counts)
    assert same_features(_tensors(build(TEXTS)), model.preprocess(TEXTS, prompt="query: "))


def test_static_models_are_given_bags() -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = Tokenizer(models.WordLevel({"?": 0, "a": 1, "b": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    own = TextTokenizer(tokenizer, "", special_tokens=False, limit=None)
    texts = ["a b", "", "b b a"]
    assert same_features(build_bags(own(texts).items), model.preprocess(texts))


def _tensors(found: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
