"""Inference over windows of texts: plain Python, the same in a Spark worker, a notebook and a unit test.

Three stages, each in a thread of its own and a bounded number of steps ahead of the next: read and tokenise, forward
passes, rows into the buffer that becomes the Arrow column.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.reasons import INVALID_VECTOR, MODEL_ERROR
from udfs.encoders.encoder import Encoder
from udfs.encoders.tokens import Tokenized
from udfs.inference.meter import Meter
from udfs.inference.passes import Pass, passes_of
from udfs.inference.prefetch import prefetch
from udfs.inference.token_budget import TokenBudget, token_budget
from udfs.specs import InferenceSpec

# One window being read while another is computed: memory does not grow with the partition.
_WINDOWS_AHEAD = 1
# Passes that wait to be copied: enough to keep a GPU busy meanwhile.
_PASSES_AHEAD = 4


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


def embed_windows(
    encoder: Encoder, windows: Iterator[Sequence[str]], spec: InferenceSpec, budget: TokenBudget, meter: Meter
) -> Iterator[Embeddings]:
    """Embeds windows of texts; a text that fails gets a reason and the others go on.

    Args:
        encoder: The loaded model.
        windows: Windows of texts, without the prompt; read ahead in another thread.
        spec: How inference runs.
        budget: How many tokens a pass may hold.
        meter: Where time is counted.

    Yields:
        One result for each window, in order, each with one row for each text, in the same order.

    Raises:
        InputError: The model's files and its configuration do not belong together.
        RuntimeError: The device is lost.
    """
    read = prefetch(_tokenised(encoder, windows, meter), _WINDOWS_AHEAD, lambda s: meter.add(forward_waited=s))
    passes = prefetch(passes_of(encoder, read, budget, meter), _PASSES_AHEAD, lambda s: meter.add(collect_waited=s))
    with closing(passes):
        result = None
        for done in passes:
            result = result or _empty(done.window, spec)
            with meter.timed("collect"):
                _collect(result, done, encoder, meter)
            if done.is_last:
                yield result
                result = None


def embed_texts(encoder: Encoder, texts: Sequence[str], spec: InferenceSpec) -> Embeddings:
    """Embeds one window of texts.

    Args:
        encoder: The loaded model.
        texts: Texts, without the prompt.
        spec: How inference runs.

    Returns:
        One row for each text, in the same order.
    """
    (found,) = embed_windows(encoder, iter([texts]), spec, token_budget(spec, encoder), Meter())
    return found


def _tokenised(encoder: Encoder, windows: Iterator[Sequence[str]], meter: Meter) -> Iterator[Tokenized]:
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


def _collect(result: Embeddings, done: Pass, encoder: Encoder, meter: Meter) -> None:
    if done.rows is None:
        for position in done.positions:
            result.reasons[position], result.details[position] = done.reason, done.detail
        return
    rows = done.rows()
    _check_shape(rows, len(done.positions), result)
    good = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
    places = np.asarray(done.positions)
    result.matrix[places[good]] = rows[good]
    for number in np.flatnonzero(~good):
        if len(rows) == 1 and encoder.dtype == "float32":
            _fail(result, done.positions[0], rows)
        else:
            meter.add(retried=1)
            _retry(result, done.positions[number], encoder, done.window)


def _retry(result: Embeddings, position: int, encoder: Encoder, window: Tokenized) -> None:
    # Half precision and padding have made vectors not finite that are fine alone.
    try:
        row = encoder.exact(window.items[position])
    except Exception as error:  # the text's own fault by now
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
            f"the model returned {rows.shape} numbers for {count} texts of dimension {dimension}: "
            "its files and its configuration do not belong together"
        )
