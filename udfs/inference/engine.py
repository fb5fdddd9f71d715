"""Inference over windows of texts: plain Python, the same in a Spark worker, a notebook and a unit test.

It has three stages: read and tokenize, run forward passes, collect rows in the buffer that becomes the Arrow column.
The first two run in their own threads, each a limited number of steps ahead of the next stage.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.reasons import INVALID_VECTOR, MODEL_ERROR
from udfs.encoders.protocol import Encoder
from udfs.encoders.tokens import Tokenized
from udfs.inference.meter import Meter
from udfs.inference.passes import Pass, passes_of
from udfs.inference.prefetch import prefetch
from udfs.inference.token_budget import TokenBudget, token_budget
from udfs.specs import InferenceSpec

# One window is read while another is computed, so memory does not grow with the size of the partition.
_WINDOWS_AHEAD = 1
# Number of passes that may wait to be copied: enough to keep a GPU busy.
_PASSES_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The results for a window of texts, in the order of the texts.

    Attributes:
        matrix: (n, dimension) float32; all zeros for a text with a reason.
        token_counts: (n,) int32; tokens of each text, including prompt and special tokens, before truncation.
        truncated: (n,) bool; whether the model saw only the beginning.
        reasons: Why each text has no embedding (one of `schemas.reasons`); None if it has one.
        details: The reason in words, without any part of the text.
    """

    matrix: NDArray[np.float32]
    token_counts: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    reasons: list[str | None]
    details: list[str | None]


def embed_windows(
    encoder: Encoder, windows: Iterator[Sequence[str]], spec: InferenceSpec, budget: TokenBudget, meter: Meter
) -> Iterator[Embeddings]:
    """Embeds windows of texts. A text that fails gets a reason; the others are not affected.

    Args:
        encoder: The loaded model.
        windows: Windows of texts without the prompt; read ahead in a separate thread.
        spec: How inference runs.
        budget: Limits the tokens of a forward pass.
        meter: Counts passes, tokens and seconds.

    Yields:
        The results of each window, in order, with one row for each text.

    Raises:
        InputError: The model's files do not match its configuration.
        RuntimeError: The device is lost.
    """
    read = prefetch(_tokenized(encoder, windows, meter), _WINDOWS_AHEAD, lambda s: meter.add(forward_waited=s))
    passes = prefetch(passes_of(encoder, read, budget, meter), _PASSES_AHEAD, lambda s: meter.add(collect_waited=s))
    with closing(passes):
        result = None
        for forward_pass in passes:
            result = result or _empty(forward_pass.window, spec)
            with meter.timed("collect"):
                _collect(result, forward_pass, encoder, meter)
            if forward_pass.is_last:
                yield result
                result = None


def embed_texts(encoder: Encoder, texts: Sequence[str], spec: InferenceSpec) -> Embeddings:
    """Embeds texts (without the prompt) as one window."""
    (embeddings,) = embed_windows(encoder, iter([texts]), spec, token_budget(spec, encoder), Meter())
    return embeddings


def _tokenized(encoder: Encoder, windows: Iterator[Sequence[str]], meter: Meter) -> Iterator[Tokenized]:
    while True:
        with meter.timed("read"):
            texts = next(windows, None)
        if texts is None:
            return
        with meter.timed("tokenise"):
            window = encoder.tokenize(texts)
        yield window


def _empty(window: Tokenized, spec: InferenceSpec) -> Embeddings:
    count, limit = len(window.items), spec.model.max_tokens
    return Embeddings(
        matrix=np.zeros((count, spec.model.dimension), dtype=np.float32),
        token_counts=np.asarray(window.counts, dtype=np.int32),
        truncated=np.asarray([limit is not None and tokens > limit for tokens in window.counts], dtype=np.bool_),
        reasons=[None] * count,
        details=[None] * count,
    )


def _collect(result: Embeddings, forward_pass: Pass, encoder: Encoder, meter: Meter) -> None:
    if forward_pass.rows is None:
        for position in forward_pass.positions:
            result.reasons[position], result.details[position] = forward_pass.reason, forward_pass.detail
        return
    rows = forward_pass.rows()
    _check_shape(rows, len(forward_pass.positions), result)
    is_valid = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
    positions = np.asarray(forward_pass.positions)
    result.matrix[positions[is_valid]] = rows[is_valid]
    for index in np.flatnonzero(~is_valid):
        if len(rows) == 1 and encoder.dtype == "float32":
            _fail(result, forward_pass.positions[0], rows)
        else:
            meter.add(retried=1)
            _retry(result, forward_pass.positions[index], encoder, forward_pass.window)


def _retry(result: Embeddings, position: int, encoder: Encoder, window: Tokenized) -> None:
    # Some vectors are only non-finite in half precision or because of padding.
    try:
        row = encoder.exact(window.items[position])
    except InputError:
        # The model in float32 could not be loaded, which no text is to blame for.
        raise
    except Exception as error:  # the text was embedded alone, so it is the cause
        result.reasons[position], result.details[position] = MODEL_ERROR, f"the model raised {type(error).__name__}"
        return
    _check_shape(row, 1, result)
    if np.isfinite(row).all() and row.any():
        result.matrix[position] = row[0]
    else:
        _fail(result, position, row)


def _fail(result: Embeddings, position: int, row: NDArray[np.float32]) -> None:
    result.reasons[position] = INVALID_VECTOR
    result.details[position] = f"the vector is {'zero' if np.isfinite(row).all() else 'not finite'}"


def _check_shape(rows: NDArray[np.float32], count: int, result: Embeddings) -> None:
    dimension = result.matrix.shape[1]
    if rows.shape != (count, dimension):
        raise InputError(
            f"the model returned an array of shape {rows.shape} for {count} texts of dimension {dimension}, so its "
            "files do not match its configuration. Fetch the complete model again."
        )
