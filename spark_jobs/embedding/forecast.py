"""What a run will take, forecast from the runs before it: tokens, chunks and seconds; numpy, no Spark."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

# What a run takes beside what grows with its tokens, in seconds on two slow cores. Each counts as much as one run that
# was measured.
_START_OF_INFERENCE = 5.0
_START_OF_WORK = 8.0
# A document takes as long to compare, plan and merge as cutting so many tokens.
_TOKENS_A_DOCUMENT = 50
_TOKENS_A_CHUNK = 200


@dataclass(frozen=True, slots=True)
class TextLengths:
    """Characters of the texts that are to be embedded.

    Attributes:
        whole: Of all of them.
        changed: Of the changed documents.
        kept: Of these, in chunks that an edit has probably left as they are.
    """

    whole: int
    changed: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run of the space that came to its end, or to its cap.

    Attributes:
        lengths: Characters that it had to embed.
        documents: Documents that differed.
        chunks: Chunks of their texts.
        tokens: Tokens of these chunks.
        embedded: Those that were embedded.
        kept: Those in chunks that an edit had left as they were.
        seconds: Wall-clock seconds from the start of the session.
        ahead: Those until source and ledger were compared.
        inference: Those of the step that embeds.
        slots: Tasks that ran at the same time; 0 if nobody counted.
        worker: Device, type and backend; empty if nothing was embedded.
        estimated_tokens: Forecast of `embedded`; None if there was none.
        estimated_seconds: Forecast of `seconds`; None if there was none.
    """

    lengths: TextLengths
    documents: int
    chunks: int
    tokens: int
    embedded: int
    kept: int
    seconds: float
    ahead: float
    inference: float
    slots: int
    worker: str
    estimated_tokens: int | None = None
    estimated_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """What a run has to do.

    Attributes:
        documents: Documents that differ.
        to_embed: Those whose text is to be embedded.
        lengths: Characters of these texts.
        repeated: Characters of texts whose vectors exist under another id, or that occur before among these.
        slots: Tasks that will run at the same time.
        ahead: Seconds until source and ledger are compared, measured or expected.
    """

    documents: int
    to_embed: int
    lengths: TextLengths
    repeated: int
    slots: int
    ahead: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will take.

    Attributes:
        tokens: Tokens of the texts that are to be embedded.
        embedded: Those that the model will see.
        chunks: Chunks of these texts.
        seconds: Wall-clock seconds of the whole run; None if no rate is known.
        tokens_per_second: Rate of the step that embeds, in a run of this size; None if it is not known.
        worker: Device, type and backend of the runs that the rate is from; empty if there are none.
        runs: Number of past runs with texts that it was made from.
        token_error: Median of the relative errors that the forecast of tokens had in past runs; None if there are none.
        second_error: The same for seconds.
    """

    tokens: int
    embedded: int
    chunks: int
    seconds: float | None
    tokens_per_second: float | None
    worker: str
    runs: int
    token_error: float | None
    second_error: float | None

    @property
    def reused(self) -> int:
        """Tokens whose vectors exist already."""
        return self.tokens - self.embedded


def forecast(
    work: Workload,
    past: Sequence[PastRun],
    characters_per_token: float,
    tokens_per_second: float | None = None,
) -> Forecast:
    """Forecasts a run.

    Args:
        work: What it has to do.
        past: The last runs of the space, the newest first.
        characters_per_token: What to reckon with if no run has counted tokens.
        tokens_per_second: Rate of the step that embeds; None for that of the past runs.

    Returns:
        The forecast. Without a rate, seconds are known only if nothing is to be embedded.
    """
    measured = [run for run in past if run.tokens]
    ratio = _ratio(measured, lambda run: run.lengths.whole, lambda run: run.tokens) or characters_per_token
    tokens = work.lengths.whole / ratio
    kept = work.lengths.changed * _kept_share(work.lengths, measured, ratio) / ratio
    embedded = max(0.0, tokens - kept - work.repeated / ratio)
    a_chunk = _ratio(measured, lambda run: run.tokens, lambda run: run.chunks) or _TOKENS_A_CHUNK
    similar = _on_the_same_worker(past)
    inference = _inference_seconds(embedded, work.slots, similar, tokens_per_second)
    rest = _fitted([(_amount(run.documents, run.tokens), _rest_of(run)) for run in similar], _START_OF_WORK)
    seconds = None
    if inference is not None:
        seconds = work.ahead + inference + rest(_amount(work.documents, tokens))
    return Forecast(
        tokens=round(tokens),
        embedded=round(embedded),
        chunks=max(work.to_embed if tokens else 0, round(tokens / a_chunk)),
        seconds=seconds,
        tokens_per_second=embedded / inference if inference and embedded else None,
        worker=next((run.worker for run in similar if run.worker), ""),
        runs=sum(1 for run in similar if run.tokens),
        token_error=_error([(run.estimated_tokens, run.embedded) for run in measured]),
        second_error=_error([(run.estimated_seconds, run.seconds) for run in similar]),
    )


def _ratio(runs: Sequence[PastRun], above: Callable[[PastRun], int], below: Callable[[PastRun], int]) -> float | None:
    counted = [run for run in runs if above(run) and below(run)]
    return sum(map(above, counted)) / sum(map(below, counted)) if counted else None


def _kept_share(lengths: TextLengths, past: Sequence[PastRun], ratio: float) -> float:
    """Estimates the share of changed texts that need not be embedded again.

    What past runs kept is added up with what the number of chunks suggests for this one, so that many measured edits
    outweigh the guess, and few do not.
    """
    kept = lengths.kept + sum(run.kept * ratio for run in past)
    changed = lengths.changed + sum(run.lengths.changed for run in past)
    return min(1.0, kept / changed) if changed else 0.0


def _on_the_same_worker(past: Sequence[PastRun]) -> list[PastRun]:
    """Keeps the runs on the kind of worker that the newest one had; those that embedded nothing had any."""
    newest = next((run.worker for run in past if run.worker), "")
    return [run for run in past if run.worker in ("", newest)]


def _inference_seconds(
    embedded: float, slots: int, past: Sequence[PastRun], tokens_per_second: float | None
) -> float | None:
    if not embedded:
        return 0.0
    if tokens_per_second is not None:
        return _START_OF_INFERENCE + embedded / tokens_per_second
    points = [(run.embedded * slots / (run.slots or slots), run.inference) for run in past if run.embedded]
    return _fitted(points, _START_OF_INFERENCE)(embedded) if points else None


def _rest_of(run: PastRun) -> float:
    return max(0.0, run.seconds - run.ahead - run.inference)


def _amount(documents: int, tokens: float) -> float:
    return tokens + _TOKENS_A_DOCUMENT * documents


def _fitted(points: Sequence[tuple[float, float]], start: float) -> Callable[[float], float]:
    """Fits a line `seconds = a + b * amount` by relative least squares; the expected `a` counts as one point more.

    Relative, because a run of an hour must not hide what one of a minute tells of `a`.

    Args:
        points: Amount and seconds of each past run.
        start: The `a` to expect.

    Returns:
        The line, which neither begins below zero nor falls.
    """
    weights = np.array([1 / start, *(1 / max(seconds, 0.5) for _, seconds in points)])
    amounts = np.array([0.0, *(amount for amount, _ in points)])
    seconds = np.array([start, *(value for _, value in points)])
    matrix = np.column_stack([np.ones_like(amounts), amounts]) * weights[:, None]
    a, b = np.linalg.lstsq(matrix, seconds * weights, rcond=None)[0]
    if b < 0:
        a, b = float(np.average(seconds, weights=weights**2)), 0.0
    if a < 0:
        a, b = 0.0, float((weights**2 * amounts * seconds).sum() / (weights**2 * amounts**2).sum())
    return lambda amount: float(a + b * amount)


def _error(pairs: Sequence[tuple[float | None, float]]) -> float | None:
    errors = [abs(estimate - value) / value for estimate, value in pairs if estimate is not None and value]
    return median(errors) if errors else None
