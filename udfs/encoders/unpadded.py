"""Padding-free forward passes: the tokens of all texts in one row, and attention that keeps texts apart.

sentence-transformers does this if the flash-attn package is installed. This module instead uses torch's own kernel for
variable lengths, which is part of every CUDA build of torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AttentionInterface, AttentionMaskInterface

from udfs.encoders.inputs import Ids
from udfs.encoders.model_inputs import BuildFeatures

# Factor of the scores, and whether a token sees only the tokens before it.
_Scoring = tuple[float | None, bool]
_NAME = "embedlake_varlen"
_FLASH_KEYS = {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx"}
# Both results are in half precision, so both are rounded: in a deep model, short texts were seen to differ by 0.0002.
# Wrong attention would differ by far more.
_LEAST_COSINE = 0.999


def unpad(model: SentenceTransformer, examples: Sequence[Sequence[Ids]], build: BuildFeatures) -> BuildFeatures | None:
    """Switches a model to padding-free passes if it computes the same vectors that way.

    Args:
        model: The loaded model; left unchanged if the vectors differ or the architecture does not support it.
        examples: Token ids of a few batches with texts of several lengths.
        build: Builds padded features, for the comparison.

    Returns:
        A function from the ids of a batch to its features; None if the model still needs padding.
    """
    first: Any = model[0]
    attention_before = getattr(first.config, "_attn_implementation", None)
    parameters = set(first.model_forward_params) if first.model_forward_params is not None else None
    modules_before = dict(model.named_children())
    try:
        expected = [_vectors(model, build(rows)) for rows in examples]
        guides = {name: value for name, value in build(examples[0]).items() if not isinstance(value, torch.Tensor)}
        flat = _flat(first._infer_flatten_position_offset(), guides)
        AttentionInterface.register(_NAME, attention)
        AttentionMaskInterface.register(_NAME, _no_mask)
        first.model.set_attn_implementation(_NAME)
        if parameters is not None:
            first.model_forward_params = parameters | _FLASH_KEYS
        for name, module in modules_before.items():
            if type(module) is Pooling and module.pooling_mode == "mean" and module.include_prompt:
                setattr(model, name, FlatMean(module))
        unpadded = [_vectors(model, flat(rows)) for rows in examples]
        cosines = [torch.nn.functional.cosine_similarity(a, b) for a, b in zip(unpadded, expected, strict=True)]
        if min(float(cosine.min()) for cosine in cosines) >= _LEAST_COSINE:
            return flat
    except Exception:  # an architecture with different inputs or a different kind of attention
        pass
    if attention_before is not None:
        first.model.set_attn_implementation(attention_before)
    first.model_forward_params = parameters
    for name, module in modules_before.items():
        setattr(model, name, module)
    return None


class FlatMean(torch.nn.Module):
    """The mean over each text's tokens, for inference only, in place of a model's `pooling`.

    The pooling of sentence-transformers 6.0 reads a number back from the GPU in every pass without padding, so the next
    pass could not be started before the last one has ended.
    """

    def __init__(self, pooling: torch.nn.Module) -> None:
        super().__init__()
        self._pooling = pooling

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Adds `sentence_embedding` to features: a row for each text."""
        bounds = features.get("cu_seq_lens_q")
        if bounds is None:
            padded: dict[str, Any] = self._pooling(features, **options)
            return padded
        tokens = features["token_embeddings"][0]
        every = torch.arange(len(tokens), dtype=bounds.dtype, device=bounds.device)
        # It adds up in float32 whatever the type of its input.
        means = torch.nn.functional.embedding_bag(every, tokens, bounds[:-1], mode="mean")
        return features | {"sentence_embedding": means}


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attends within each text of a row. It has the signature of an attention function in transformers.

    Args:
        module: The attention module.
        query: (1, heads, tokens, width).
        key: (1, key heads, tokens, width).
        value: (1, key heads, tokens, width).
        attention_mask: Must be None; the text boundaries replace it.
        scaling: Factor of the scores.
        cu_seq_lens_q: (texts + 1,) int32, the start of each text and the end of the last.
        max_length_q: Tokens of the longest text.
        is_causal: Whether a token sees only the tokens before it; None uses the module's attribute.
        sliding_window: Must be None.
        **others: Arguments for other kinds of attention; ignored.

    Returns:
        (1, tokens, heads, width), and None instead of weights.

    Raises:
        NotImplementedError: The model needs a mask or a window.
    """
    if attention_mask is not None or sliding_window is not None or cu_seq_lens_q is None or max_length_q is None:
        raise NotImplementedError("padding-free attention with a mask or a window")
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    attend = _by_kernel if query.is_cuda else _text_by_text
    return attend(q, k, v, cu_seq_lens_q, max_length_q, (scaling, causal)).unsqueeze(0), None


def _by_kernel(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    scoring: _Scoring,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    scale, causal = scoring
    window = (-1, 0) if causal else (-1, -1)
    # torch 2.11 does not have this argument; there, only models whose heads share keys and values need padding.
    sharing: Any = {"enable_gqa": True} if k.shape[1] != q.shape[1] else {}
    result: Any = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scale, window_size=window, **sharing)
    rows: torch.Tensor = result
    return rows


def _text_by_text(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    scoring: _Scoring,
) -> torch.Tensor:
    # The kernel needs a GPU; this code computes the same result without one.
    (scale, causal), texts = scoring, []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        query, key, value = (states[start:end].transpose(0, 1).unsqueeze(0) for states in (q, k, v))
        attended = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, scale=scale, is_causal=causal, enable_gqa=k.shape[1] != q.shape[1]
        )
        texts.append(attended[0].transpose(0, 1))
    return torch.cat(texts)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def _flat(first_position: int, guides: dict[str, Any]) -> BuildFeatures:
    def build(rows: Sequence[Ids]) -> dict[str, Any]:
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        ends = np.cumsum(lengths)
        starts = np.repeat(ends - lengths, lengths)
        bounds = torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32))
        longest = int(lengths.max())
        return guides | {
            "input_ids": torch.from_numpy(np.concatenate(rows).astype(np.int64))[None],
            "position_ids": torch.from_numpy(np.arange(ends[-1]) - starts + first_position)[None],
            "seq_idx": torch.from_numpy(np.repeat(np.arange(len(rows), dtype=np.int32), lengths))[None],
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": longest,
            "max_length_k": longest,
        }

    return build


@torch.inference_mode()
def _vectors(model: SentenceTransformer, features: dict[str, Any]) -> torch.Tensor:
    moved = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value for name, value in features.items()
    }
    rows: torch.Tensor = model(moved)["sentence_embedding"]
    return rows.float()
