"""Trying sizes of forward passes on a library's own texts: rates, latencies and memory of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from udfs.encoders.encoder import Encoder
from udfs.encoders.tokens import Tokenized
from udfs.inference.meter import peak_mebibytes, reset_peak
from udfs.inference.passes import PassFault, batch_cost, fitting, longest_first, pass_fault

_ROWS = tuple(2**power for power in range(4, 10))
# Small models on few cores are fastest at the lower end, GPUs at the upper.
_TOKENS = {"cpu": (512, 1024, 2048, 4096, 8192), "cuda": (8192, 16_384, 32_768, 65_536, 131_072)}


@dataclass(frozen=True, slots=True)
class PassSize:
    """How large a forward pass is.

    Attributes:
        kind: `rows` for a fixed number of texts, `tokens` for a budget.
        value: The number.
    """

    kind: Literal["rows", "tokens"]
    value: int


def sizes_for(device: str) -> list[PassSize]:
    """Chooses the sizes to try: fixed rows, as most programs take them, and token budgets.

    Args:
        device: Torch device name.

    Returns:
        The sizes.
    """
    budgets = _TOKENS["cuda" if device.startswith("cuda") else "cpu"]
    return [PassSize("rows", rows) for rows in _ROWS] + [PassSize("tokens", tokens) for tokens in budgets]


@dataclass(frozen=True, slots=True)
class Trial:
    """One pass over all texts in passes of one size.

    Attributes:
        size: The size.
        texts: Texts that were embedded; 0 where one pass did not fit into memory.
        tokens: Their tokens.
        computed: Tokens that were computed, padding included.
        seconds: Wall-clock seconds of all passes.
        latencies: Seconds of each pass.
        peak_mebibytes: Most memory in use meanwhile, of the GPU where there is one, else of the process.
    """

    size: PassSize
    texts: int
    tokens: int
    computed: int
    seconds: float
    latencies: list[float]
    peak_mebibytes: float


def trials(encoder: Encoder, texts: Sequence[str], sizes: Sequence[PassSize], rounds: int = 3) -> Iterator[Trial]:
    """Embeds the same texts in passes of every size, one size after the other, several times.

    Sizes take turns, each round beginning with another one: a machine that is slower for a while is slower for all.

    Args:
        encoder: The loaded model.
        texts: Texts of the library.
        sizes: Sizes to try.
        rounds: How often.

    Yields:
        A trial for each size and round.
    """
    window = encoder.tokenize(texts)
    # The first pass of a process allocates, loads and compiles.
    _trial(encoder, window, PassSize("rows", 1), longest_first(window.lengths)[:1])
    for number in range(rounds):
        turn = number % len(sizes)
        for size in [*sizes[turn:], *sizes[:turn]]:
            yield _trial(encoder, window, size, longest_first(window.lengths))


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
        except Exception as error:  # a size that does not fit is a finding; anything else is not for calibration
            if pass_fault(error) is not PassFault.MEMORY:
                raise
            return Trial(size, 0, 0, 0, 0.0, [], peak_mebibytes(encoder.device))
        latencies.append(perf_counter() - began)
        texts += len(batch)
        tokens += sum(lengths[:count])
        computed += batch_cost(lengths[:count], encoder.is_padded)
    return Trial(size, texts, tokens, computed, sum(latencies), latencies, peak_mebibytes(encoder.device))
