"""Passes without padding give the vectors of padded ones; models that do not support them stay padded."""

from copy import deepcopy
from math import cos, sin
from pathlib import Path
from typing import Any

import pytest
import torch

from udfs.encoders import unpadded
from udfs.encoders.model_inputs import read_and_build
from udfs.encoders.tokens import TextTokenizer
from udfs.encoders.unpadded import attention, unpad
from udfs.models.source import describe_model

BATCHES = [["Who hunts at night?", "owl", "night " * 300], ["x"]]
OTHERS = ["a b c", "", "zz top " * 90, "\U0001f989", "[SEP]"]


@pytest.fixture
def model(plain: Any) -> Any:
    """A model of the test's own: unpadding changes it."""
    return deepcopy(plain)


@pytest.fixture
def reading(model: Any, model_folder: Path) -> tuple[Any, Any]:
    tokenize, build = read_and_build(model, describe_model(str(model_folder)), "query: ")
    assert isinstance(tokenize, TextTokenizer)
    return tokenize, build


def test_vectors_match_padded_passes(model: Any, reading: tuple[Any, Any]) -> None:
    tokenize, build = reading
    items = tokenize(OTHERS).items
    expected = unpadded._vectors(model, build(items))
    flat = unpad(model, [tokenize(texts).items for texts in BATCHES], build)
    assert flat is not None
    features = flat(items)
    assert features["input_ids"].shape == (1, sum(map(len, items)))
    assert features["prompt_length"] == build(items)["prompt_length"]
    assert (unpadded._vectors(model, features) - expected).abs().max() < 1e-5
    assert isinstance(model[1], unpadded.FlatMean)


@pytest.mark.parametrize("broken", ["attends across texts", "raises"])
def test_a_model_that_does_not_support_it_stays_padded(
    model: Any, reading: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def across(q: Any, k: Any, v: Any, bounds: Any, longest: int, how: Any) -> Any:
        if broken == "raises":
            raise NotImplementedError
        whole = torch.tensor([0, len(q)], dtype=torch.int32)
        return text_by_text(q, k, v, whole, len(q), how)

    text_by_text = unpadded._text_by_text
    monkeypatch.setattr(unpadded, "_text_by_text", across)
    tokenize, build = reading
    before = unpadded._vectors(model, build(tokenize(OTHERS).items))
    named = model[0].model_forward_params
    assert unpad(model, [tokenize(texts).items for texts in BATCHES], build) is None
    assert torch.equal(unpadded._vectors(model, build(tokenize(OTHERS).items)), before)
    assert model[0].model_forward_params == named
    assert not any(isinstance(module, unpadded.FlatMean) for module in model)


@pytest.mark.parametrize(("angle", "accepted"), [(0.02, True), (0.06, False)])
def test_differences_as_of_half_precision_are_accepted(
    model: Any, reading: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, angle: float, accepted: bool
) -> None:
    # Cosines of 0.9998, seen between two results of a deep model in bfloat16, and of 0.998.
    def turned(model: Any, features: dict[str, Any]) -> torch.Tensor:
        step = angle if "cu_seq_lens_q" in features else 0.0
        return torch.tensor([[1.0, 0.0]]) @ torch.tensor([[cos(step), sin(step)], [-sin(step), cos(step)]])

    monkeypatch.setattr(unpadded, "_vectors", turned)
    tokenize, build = reading
    assert (unpad(model, [tokenize(["x"]).items], build) is not None) == accepted


def test_positions_restart_with_each_text_at_the_offset_of_the_model() -> None:
    rows = [torch.tensor([7, 8, 9]).numpy(), torch.tensor([5]).numpy()]
    found = unpadded._flat(2, {"modality": "text"})(rows)
    assert {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in found.items()} == {
        "modality": "text",
        "input_ids": [[7, 8, 9, 5]],
        "position_ids": [[2, 3, 4, 2]],
        "seq_idx": [[0, 0, 0, 1]],
        "cu_seq_lens_q": [0, 3, 4],
        "cu_seq_lens_k": [0, 3, 4],
        "max_length_q": 3,
        "max_length_k": 3,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_of_each_text_is_that_of_the_padded_pooling(plain: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    lengths = [700, 1, 30]
    # Numbers of one sign: a sum kept in half precision would stop growing long before 700 of them.
    texts = [torch.rand(length, 384).to(dtype) for length in lengths]
    bounds = torch.tensor([0, 700, 701, 731], dtype=torch.int32)
    flat = {"token_embeddings": torch.cat(texts)[None], "cu_seq_lens_q": bounds}
    means = unpadded.FlatMean(plain[1])(flat)["sentence_embedding"]
    assert means.dtype == dtype
    expected = torch.stack([text.float().mean(0) for text in texts])
    assert (means.float() - expected).abs().max() < (1e-6 if dtype == torch.float32 else 4e-3)
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    mask = torch.arange(700)[None] < torch.tensor(lengths)[:, None]
    features = {"token_embeddings": padded, "attention_mask": mask.long()}
    found = unpadded.FlatMean(plain[1])(dict(features))["sentence_embedding"]
    assert torch.equal(found, plain[1](dict(features))["sentence_embedding"])


@pytest.mark.parametrize("causal", [False, True])
def test_attention_stays_within_each_text(causal: bool) -> None:
    torch.manual_seed(3)
    query, key, value = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    bounds = torch.tensor([0, 3, 5], dtype=torch.int32)
    found, weights = attention(
        torch.nn.Identity(), query, key, value, None, 0.3, cu_seq_lens_q=bounds, max_length_q=3, is_causal=causal
    )
    assert (found.shape, weights) == ((1, 5, 4, 8), None)
    for start, end in ((0, 3), (3, 5)):
        for head in range(4):
            scores = 0.3 * query[0, head, start:end] @ key[0, head // 2, start:end].T
            if causal:
                scores = scores.masked_fill(torch.triu(torch.ones_like(scores), 1).bool(), float("-inf"))
            expected = scores.softmax(dim=1) @ value[0, head // 2, start:end]
            assert (found[0, start:end, head] - expected).abs().max() < 1e-5


@pytest.mark.parametrize("options", [{"attention_mask": torch.ones(1)}, {"sliding_window": 4}, {"cu_seq_lens_q": None}])
def test_unsupported_options_are_refused(options: dict[str, Any]) -> None:
    states = torch.randn(1, 1, 2, 8)
    given = {"attention_mask": None, "cu_seq_lens_q": torch.tensor([0, 2]), "max_length_q": 2, **options}
    with pytest.raises(NotImplementedError):
        attention(torch.nn.Identity(), states, states, states, **given)


@pytest.mark.parametrize(("key_heads", "expected"), [(4, {}), (2, {"enable_gqa": True})])
def test_the_kernel_gets_what_torch_2_11_does_not_know_only_if_heads_share_keys(
    monkeypatch: pytest.MonkeyPatch, key_heads: int, expected: dict[str, Any]
) -> None:
    from torch.nn.attention import varlen

    asked: dict[str, Any] = {}

    def kernel(q: Any, k: Any, v: Any, *bounds: Any, scale: float, window_size: tuple[int, int], **others: Any) -> Any:
        asked.update(others)
        return q

    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    query, key = torch.randn(5, 4, 8), torch.randn(5, key_heads, 8)
    bounds = torch.tensor([0, 3, 5], dtype=torch.int32)
    assert unpadded._by_kernel(query, key, key, bounds, 3, (0.3, False)) is query
    assert asked == expected
