"""Inference over a window of texts: plain Python, the same in a Spark worker, a notebook and a unit test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.reasons import INVALID_VECTOR, MODEL_ERROR
from udfs.batching import token_batches
from udfs.encoder import Encoder
from udfs.specs import InferenceSpec

# What `auto` means: about the fastest for small models on two cores, and small beside any GPU's memory.
_AUTO_BUDGET = {"cpu": 2048, "cuda": 32_768}


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What became of a window of texts, in the order they came.

    Attributes:
        matrix: (n, dimension) float32; the row of a text with a reason is zero and means nothing.
        token_counts: (n,) int32; tokens of each text, prompt and special tokens included, before truncation.
        truncated: (n,) bool; whether the model saw only the beginning.
        reasons: Why a text has no embedding; None where it has one.
        details: The reason in words, without any of the text.
    """

    matrix: NDArray[np.float32]
    token_counts: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    reasons: list[str | None]
    details: list[str | None]


def token_budget(spec: InferenceSpec, device: str) -> int:
    """Chooses the most tokens of one forward pass, padding included.

    Args:
        spec: How inference runs.
        device: Torch device name.

    Returns:
        The budget that the settings name, or one that suits the kind of device.
    """
    return spec.token_budget or _AUTO_BUDGET["cuda" if device.startswith("cuda") else "cpu"]


def embed_texts(encoder: Encoder, texts: Sequence[str], spec: InferenceSpec) -> Embeddings:
    """Embeds texts in batches of like length; a text that fails gets a reason and the others go on.

    Args:
        encoder: The loaded model.
        texts: Texts, without the prompt.
        spec: How inference runs.

    Returns:
        One row for each text, in the same order.
    """
    counts = encoder.token_counts(texts)
    limit = spec.model.max_tokens
    seen = [min(count, limit) for count in counts] if limit else counts
    result = Embeddings(
        matrix=np.zeros((len(texts), spec.model.dimension), dtype=np.float32),
        token_counts=np.asarray(counts, dtype=np.int32),
        truncated=np.asarray([limit is not None and count > limit for count in counts], dtype=np.bool_),
        reasons=[None] * len(texts),
        details=[None] * len(texts),
    )
    for batch in token_batches(seen, token_budget(spec, encoder.device)):
        _fill(result, encoder, texts, batch)
    return result


def _fill(result: Embeddings, encoder: Encoder, texts: Sequence[str], batch: list[int]) -> None:
    try:
        rows = encoder.encode([texts[position] for position in batch])
    except Exception as error:  # whatever a model raises for one text must not take its neighbours along
        if len(batch) > 1:
            _fill(result, encoder, texts, batch[: len(batch) // 2])
            _fill(result, encoder, texts, batch[len(batch) // 2 :])
        else:
            # The error's own words may quote the text.
            _fail(result, batch[0], MODEL_ERROR, f"the model raised {type(error).__name__}")
        return
    if rows.shape != (len(batch), result.matrix.shape[1]):
        raise InputError(
            f"the model returned {rows.shape} numbers for {len(batch)} texts of dimension {result.matrix.shape[1]}: "
            "its files and its configuration do not belong together"
        )
    for position, row in zip(batch, rows, strict=True):
        if np.isfinite(row).all() and row.any():
            result.matrix[position] = row
        elif len(batch) > 1:
            # Half precision and padding have made vectors not finite that are fine alone.
            _fill(result, encoder, texts, [position])
        else:
            what = "is zero" if np.isfinite(row).all() else "is not finite"
            _fail(result, position, INVALID_VECTOR, f"the vector {what}")


def _fail(result: Embeddings, position: int, reason: str, detail: str) -> None:
    result.reasons[position] = reason
    result.details[position] = detail
