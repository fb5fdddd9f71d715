"""The maximum number of tokens in a forward pass: chosen by trial, halved when memory runs out, doubled again later."""

from collections.abc import Sequence
from statistics import median
from weakref import WeakKeyDictionary

from udfs.encoders.protocol import Encoder
from udfs.specs import InferenceSpec

# The candidates that a run tries for `auto`, in the order of their turns. Until a backend is chosen, passes have the
# size of the first. `embedlake calibrate` tries more sizes: see `udfs.inference.calibration`.
# The CPU candidates suit small models on a few cores. On GPUs, every candidate easily fits into memory.
_CANDIDATES = {"cpu": (2048, 1024, 4096), "cuda": (32_768, 16_384, 65_536)}
# Static models only add up rows of a table, and other models go without padding on GPUs only: in both cases, small
# passes would be mostly overhead. On an H200, MiniLM without padding was fastest with this budget.
_UNPADDED_BUDGET = 262_144
# Passes per candidate before one is chosen. Medians of three passes differ clearly, even on a busy machine.
_TRIALS = 3
# A pass counts for its candidate only if it fills at least this fraction of the budget.
_FULL = 0.75
# After this many passes without a fault, a halved budget is doubled again.
_GROW_AFTER = 32


class TokenBudget:
    """The maximum number of tokens in the next forward pass.

    Several candidates take turns on texts that have to be embedded anyway, so finding the fastest costs no extra
    inference. The rates of neighboring passes are comparable because batches are ordered by length.

    Args:
        candidates: Budgets to choose from, in the order of their turns; a single one is used as it is.
    """

    def __init__(self, candidates: Sequence[int]) -> None:
        self._candidates = list(candidates)
        self._rates: dict[int, list[float]] = {candidate: [] for candidate in candidates}
        self._ceiling = max(candidates)
        self._clean = 0
        self._warm = False

    @property
    def is_chosen(self) -> bool:
        """Whether only one candidate is left."""
        return len(self._candidates) == 1

    @property
    def tokens(self) -> int:
        """The maximum number of tokens in the next pass."""
        turn = min(self._candidates, key=lambda candidate: len(self._rates[candidate]))
        return min(turn, self._ceiling)

    def passed(self, cost: int, tokens: int, seconds: float) -> None:
        """Records a pass that succeeded.

        Args:
            cost: Tokens computed, including padding.
            tokens: Tokens of the texts alone.
            seconds: Duration of the pass.
        """
        self._clean += 1
        if self._ceiling < max(self._candidates) and self._clean >= _GROW_AFTER:
            self._ceiling, self._clean = self._ceiling * 2, 0
        if self.is_chosen:
            return
        turn = self.tokens
        # The first pass of a process allocates, loads and compiles, so it does not count.
        if self._warm and cost >= _FULL * turn and turn in self._rates:
            self._rates[turn].append(tokens / max(seconds, 1e-9))
        self._warm = True
        if all(len(self._rates[candidate]) >= _TRIALS for candidate in self._candidates):
            self._candidates = [max(self._candidates, key=lambda candidate: median(self._rates[candidate]))]

    def ran_out(self, cost: int) -> None:
        """Records a pass of `cost` tokens, including padding, that did not fit into memory, and halves the next one."""
        self._ceiling, self._clean = max(1, min(self._ceiling, cost) // 2), 0
        fitting = [candidate for candidate in self._candidates if candidate <= self._ceiling]
        if fitting and not self.is_chosen:
            self._candidates = fitting


# The budget found for a model is used for the rest of the process.
_budgets: WeakKeyDictionary[Encoder, dict[int | None, TokenBudget]] = WeakKeyDictionary()


def token_budget(spec: InferenceSpec, encoder: Encoder) -> TokenBudget:
    """Returns a model's token budget, configured or chosen by trial; the same object for the same encoder."""
    budgets = _budgets.setdefault(encoder, {})
    if spec.token_budget not in budgets:
        budgets[spec.token_budget] = TokenBudget(_candidates(spec, encoder))
    return budgets[spec.token_budget]


def _candidates(spec: InferenceSpec, encoder: Encoder) -> Sequence[int]:
    if spec.token_budget:
        return [spec.token_budget]
    if not encoder.is_padded:
        return [_UNPADDED_BUDGET]
    return _CANDIDATES["cuda" if encoder.device.startswith("cuda") else "cpu"]
