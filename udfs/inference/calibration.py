"""Trials of forward-pass sizes on a library's own texts: the rate, latencies and memory use of each size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from udfs.encoders.backend_trial import TrialEncoder
from udfs.encoders.protocol import Encoder
from udfs.encoders.tokens import Tokenized
from udfs.inference.meter import peak_mebibytes, reset_peak
from udfs.inference.passes import PassFault, batch_cost, fitting, longest_first, pass_fault

_ROWS = tuple(2**power for power in range(4, 10))
# The sizes that `embedlake calibrate` tries. A run tries fewer candidates: see `udfs.inference.token_budget`.
# Small models on a few cores are fastest at the lower end, GPUs at the upper end.
_TOKENS = {"cpu": (512, 1024, 2048, 4096, 8192), "cuda": (8192, 16_384, 32_768, 65_536, 131_072)}


@dataclass(frozen=True, slots=True)
class PassSize:
    """The size of a forward pass: a fixed number of texts (`rows`) or a token budget (`tokens`)."""

    kind: Literal["rows", "tokens"]
    value: int


def sizes_for(device: str) -> list[PassSize]:
    """Returns the sizes to try on a torch device: fixed row counts, as used by most programs, and token budgets."""
    budgets = _TOKENS["cuda" if device.startswith("cuda") else "cpu"]
    return [PassSize("rows", rows) for rows in _ROWS] + [PassSize("tokens", tokens) for tokens in budgets]


@dataclass(frozen=True, slots=True)
class Trial:
    """All texts, embedded once in forward passes of one size.

    Attributes:
        size: The size of the passes.
        texts: Texts embedded; 0 if a pass did not fit into memory.
        tokens: Tokens of the texts.
        computed: Tokens computed, including padding.
        seconds: Wall-clock seconds of all passes.
        latencies: Seconds of each pass.
        peak_mebibytes: Peak memory during the trial: of the GPU if the model runs on one, otherwise of the process.
    """

    size: PassSize
    texts: int
    tokens: int
    computed: int
    seconds: float
    latencies: list[float]
    peak_mebibytes: float


def trials(encoder: Encoder, texts: Sequence[str], sizes: Sequence[PassSize], rounds: int = 3) -> Iterator[Trial]:
    """Embeds the same texts in passes of each size, in several rounds, and yields a trial for each size and round.

    Every round starts with a different size, so that a temporary slowdown of the machine affects all sizes equally.
    """
    window = encoder.tokenize(texts)
    _settle(encoder, window)
    # The first pass of a process allocates, loads and compiles, so this trial is discarded.
    _trial(encoder, window, PassSize("rows", 1), longest_first(window.lengths)[:1])
    for number in range(rounds):
        first = number % len(sizes)
        for size in [*sizes[first:], *sizes[:first]]:
            yield _trial(encoder, window, size, longest_first(window.lengths))


def _settle(encoder: Encoder, window: Tokenized) -> None:
    """Runs passes until it is known which backend runs all others."""
    if isinstance(encoder, TrialEncoder):
        encoder.begin()
        order = longest_first(window.lengths)
        size = fitting([window.lengths[position] for position in order], _TOKENS["cpu"][0], encoder.is_padded)
        while encoder.is_on_trial:
            encoder.forward([window.items[position] for position in order[:size]])()


def _trial(encoder: Encoder, window: Tokenized, size: PassSize, order: list[int]) -> Trial:
    reset_peak(encoder.device)
    latencies: list[float] = []
    texts = tokens = computed = 0
    while order:
        lengths = [window.lengths[position] for position in order]
        count = size.value if size.kind == "rows" else fitting(lengths, size.value, encoder.is_padded)
        batch, order = order[:count], order[count:]
        began = perf_counter()
        try:
            encoder.forward([window.items[position] for position in batch])()
        except Exception as error:  # running out of memory is a result; any other error is not
            if pass_fault(error) is not PassFault.MEMORY:
                raise
            return Trial(size, 0, 0, 0, 0.0, [], peak_mebibytes(encoder.device))
        latencies.append(perf_counter() - began)
        texts += len(batch)
        tokens += sum(lengths[:count])
        computed += batch_cost(lengths[:count], encoder.is_padded)
    return Trial(size, texts, tokens, computed, sum(latencies), latencies, peak_mebibytes(encoder.device))
