"""Turns token ids into the features for a forward pass, without tokenizing again."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from udfs.encoders.distinct_words import distinct_words
from udfs.encoders.token_counter import load_token_counter
from udfs.encoders.tokens import TextTokenizer, Tokenized
from udfs.specs import ModelSpec

Features = dict[str, Any]
Ids = NDArray[np.int32]
BuildFeatures = Callable[[Sequence[Any]], Features]
Tokenize = Callable[[Sequence[str]], Tokenized]
# Texts for which this module and the library must give the same result: truncated, padded, with words that are special
# to tokenizers, in other scripts, and without any token.
_PROBES = (
    "Who hunts at night?",
    "[CLS] <s> </s> [MASK]",
    " Two  spaces\nÜBER 日本語 \U0001f989 ",
    "a_b (e\u0301.g.)\t=\u0338\r\x0b",
    "x",
    "",
)


def read_and_build(model: SentenceTransformer, spec: ModelSpec, prompt: str) -> tuple[Tokenize, BuildFeatures]:
    """Chooses how to tokenize texts and build features: from ids read once, if that equals the library's result.

    Args:
        model: The loaded model.
        spec: The model's description.
        prompt: Text put before each text.

    Returns:
        A function that tokenizes texts, and one that builds the features of a batch from the first function's items.
    """
    tokenizer: Any = model[0].tokenizer
    is_static = isinstance(model[0], StaticEmbedding)
    backend = tokenizer if is_static else getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        own = Tokenizer.from_str(backend.to_str())
        own.no_truncation()
        own.no_padding()
        keeps_end = getattr(tokenizer, "truncation_side", "right") == "left"
        build = build_bags if is_static else _padded_builder_for(tokenizer)
        probes = [*_PROBES, "night " * (spec.max_tokens or 1)]
        expected = model.preprocess(probes, prompt=prompt)
        guides = {name: value for name, value in expected.items() if not isinstance(value, torch.Tensor)}
        for by_words in dict.fromkeys((distinct_words(own), None)):
            tokenize = TextTokenizer(own, prompt, not is_static, spec.max_tokens, keeps_end, by_words)
            if same_features(build(tokenize(probes).items), expected):
                return tokenize, lambda items: build(items) | guides

    counter = load_token_counter(spec, prompt)

    def count(texts: Sequence[str]) -> Tokenized:
        counts = counter.inputs(texts)
        return Tokenized(texts, [min(number, spec.max_tokens or number) for number in counts], counts)

    return count, lambda items: model.preprocess(list(items), prompt=prompt)


def padded_builder(pad_id: int, token_type_ids: bool, left: bool) -> BuildFeatures:
    """Creates the builder for models that take a rectangular batch of tokens and a mask.

    Args:
        pad_id: The token for padding.
        token_type_ids: Whether the model takes a segment number for each token; a text is a single segment.
        left: Whether padding goes before the first token of a text.

    Returns:
        A function from the ids of a batch to its features.
    """

    def build(rows: Sequence[Ids]) -> Features:
        width = max(map(len, rows))
        ids = np.full((len(rows), width), pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for index, row in enumerate(rows):
            columns = slice(width - len(row), width) if left else slice(0, len(row))
            ids[index, columns] = row
            mask[index, columns] = 1
        features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        return features | ({"token_type_ids": torch.zeros_like(features["input_ids"])} if token_type_ids else {})

    return build


def build_bags(rows: Sequence[Ids]) -> Features:
    """Builds the features of static models: all `input_ids` in a row, and the `offsets` where texts begin."""
    lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    return {
        "input_ids": torch.from_numpy(np.concatenate(rows).astype(np.int64)),
        "offsets": torch.from_numpy(np.cumsum(lengths) - lengths),
    }


def same_features(built: Features, expected: dict[str, Any]) -> bool:
    """Whether features equal the library's tensors. The library's other entries are only hints to the model."""
    tensors = {name: value for name, value in expected.items() if isinstance(value, torch.Tensor)}
    return built.keys() == tensors.keys() and all(torch.equal(built[name], value) for name, value in tensors.items())


def _padded_builder_for(tokenizer: Any) -> BuildFeatures:
    takes_types = "token_type_ids" in tokenizer.model_input_names
    return padded_builder(tokenizer.pad_token_id or 0, takes_types, tokenizer.padding_side == "left")
