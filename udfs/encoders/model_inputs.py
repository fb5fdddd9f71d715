"""Turns token ids into the features for a forward pass, without tokenizing again."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from udfs.encoders.distinct_words import distinct_words
from udfs.encoders.inputs import Ids, InputRule, plain_tokenizer
from udfs.encoders.token_counter import load_token_counter
from udfs.encoders.tokens import TextTokenizer, Tokenized
from udfs.specs import ModelSpec

Features = dict[str, Any]
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
    probes = _probes(spec)
    expected = model.preprocess(probes, prompt=prompt)
    guides = {name: value for name, value in expected.items() if not isinstance(value, torch.Tensor)}
    found = _bags(model, spec, prompt) if isinstance(model[0], StaticEmbedding) else _padded(model, spec, prompt)
    for tokenize, build in found:
        if same_features(build(tokenize(probes).items), expected):
            return tokenize, _guided(build, guides)

    counter = load_token_counter(spec, prompt)

    def count(texts: Sequence[str]) -> Tokenized:
        counts = counter.inputs(texts)
        return Tokenized(texts, [min(number, spec.max_tokens or number) for number in counts], counts)

    return count, lambda items: model.preprocess(list(items), prompt=prompt)


def light_inputs(
    model: SentenceTransformer, spec: ModelSpec, prompts: Sequence[str]
) -> tuple[InputRule, Tokenizer] | None:
    """Finds the rule by which inputs can be built without the library.

    Args:
        model: The loaded model.
        spec: The model's description.
        prompts: The texts put before texts; the inputs must equal the library's with each of them.

    Returns:
        The rule, and the tokenizer that it needs; None if only the library builds this model's inputs.
    """
    own, rules = _own_tokenizer(model), _rules(model)
    if own is None or isinstance(model[0], StaticEmbedding):
        return None
    probes = _probes(spec)
    for rule in rules:
        builds = [(rule.tokenizer(own, prompt, spec.max_tokens), prompt) for prompt in prompts]
        if all(
            same_features(_tensors(rule.features(tokenize(probes).items)), model.preprocess(probes, prompt=prompt))
            for tokenize, prompt in builds
        ):
            return rule, own
    return None


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


def _probes(spec: ModelSpec) -> list[str]:
    return [*_PROBES, "night " * (spec.max_tokens or 1)]


def _guided(build: BuildFeatures, guides: dict[str, Any]) -> BuildFeatures:
    return lambda items: build(items) | guides


def _bags(model: SentenceTransformer, spec: ModelSpec, prompt: str) -> Iterator[tuple[Tokenize, BuildFeatures]]:
    own = _own_tokenizer(model)
    if own is None:
        return
    for by_words in dict.fromkeys((distinct_words(own), None)):
        yield TextTokenizer(own, prompt, False, spec.max_tokens, by_words=by_words), build_bags


def _padded(model: SentenceTransformer, spec: ModelSpec, prompt: str) -> Iterator[tuple[Tokenize, BuildFeatures]]:
    own = _own_tokenizer(model)
    if own is None:
        return
    for rule in _rules(model):
        yield rule.tokenizer(own, prompt, spec.max_tokens), padded_builder(rule)


def _own_tokenizer(model: SentenceTransformer) -> Tokenizer | None:
    """Copies the model's tokenizer; None if it is not one of the library tokenizers."""
    tokenizer: Any = model[0].tokenizer
    backend = tokenizer if isinstance(model[0], StaticEmbedding) else getattr(tokenizer, "backend_tokenizer", None)
    return plain_tokenizer(backend.to_str()) if backend is not None else None


def _rules(model: SentenceTransformer) -> list[InputRule]:
    """Lists the rules that may fit the model, the fastest first."""
    tokenizer: Any = model[0].tokenizer
    return [
        InputRule(
            pad_id=tokenizer.pad_token_id or 0,
            token_type_ids="token_type_ids" in tokenizer.model_input_names,
            pads_left=tokenizer.padding_side == "left",
            keeps_end=getattr(tokenizer, "truncation_side", "right") == "left",
            by_words=by_words,
        )
        for by_words in (True, False)
    ]


def _tensors(features: dict[str, NDArray[np.int64]]) -> Features:
    return {name: torch.from_numpy(values) for name, values in features.items()}


def padded_builder(rule: InputRule) -> BuildFeatures:
    """Creates the builder for models that take a rectangular batch of tokens and a mask."""
    return lambda rows: _tensors(rule.features(rows))
