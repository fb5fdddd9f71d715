"""How many tokens one forward pass may hold: found by trying, halved when memory runs out, grown back after."""

from collections.abc import Sequence
from statistics import median
from weakref import WeakKeyDictionary

from udfs.encoders.encoder import Encoder
from udfs.specs import InferenceSpec

# What `auto` tries: for small models on a few cores, and on a GPU, beside whose memory all of them are small.
_CANDIDATES = {"cpu": (1024, 2048, 4096), "cuda": (16_384, 32_768, 65_536)}
# Static models add up rows of a table, which is over before a pass of few texts has begun.
_STATIC_BUDGET = 262_144


class TokenBudget:
    """The tokens of the next forward pass.

    Several candidates are tried in turn on the texts that are to be embedded anyway, so that finding the fastest costs
    no inference of its own. Rates of neighbouring passes compare well, for batches come longest text first.

    Args:
        candidates: Budgets to choose from; a single one is taken as it is.
    """

    def __init__(self, candidates: Sequence[int]) -> None:
        self._candidates = list(candidates)
        self._rates: dict[int, list[float]] = {candidate: [] for candidate in candidates}
        self._ceiling = max(candidates)
        self._clean = 0
        self._warm = False

    @property
    def is_chosen(self) -> bool:
        """Whether there is nothing left to try."""
        return len(self._candidates) == 1

    @property
    def tokens(self) -> int:
        """Most tokens of the next pass."""
        turn = min(self._candidates, key=lambda candidate: (len(self._rates[candidate]), candidate))
        return min(turn, self._ceiling)

    def passed(self, cost: int, tokens: int, seconds: float) -> None:
        """Notes a pass that went well.

        Args:
            cost: Tokens that were computed, padding included.
            tokens: Tokens of the texts alone.
            seconds: How long it took.
        """
        self._clean += 1
        if self._ceiling < max(self._candidates) and self._clean >= _GROW_AFTER:
            self._ceiling, self._clean = self._ceiling * 2, 0
        if self.is_chosen:
            return
        turn = self.tokens
        # The first pass of a process allocates, loads and compiles.
        if self._warm and cost >= _FULL * turn and turn in self._rates:
            self._rates[turn].append(tokens / max(seconds, 1e-9))
        self._warm = True
        if all(len(self._rates[candidate]) >= _TRIALS for candidate in self._candidates):
            self._candidates = [max(self._candidates, key=lambda candidate: median(self._rates[candidate]))]

    def ran_out(self, cost: int) -> None:
        """Notes a pass that did not fit into memory; the next one has half its tokens at most.

        Args:
            cost: Tokens that were computed, padding included.
        """
        self._ceiling, self._clean = max(1, min(self._ceiling, cost) // 2), 0
        fitting = [candidate for candidate in self._candidates if candidate <= self._ceiling]
        if fitting and not self.is_chosen:
            self._candidates = fitting


# What was found for a model in this process stays found.
_budgets: WeakKeyDictionary[Encoder, dict[int | None, TokenBudget]] = WeakKeyDictionary()

# Passes of each candidate before one is chosen; three medians stand apart in spite of a busy machine.
_TRIALS = 3
# A pass tells something of its candidate when it nearly fills it.
_FULL = 0.75
# Passes without a fault after which a halved budget is doubled again.
_GROW_AFTER = 32


def token_budget(spec: InferenceSpec, encoder: Encoder) -> TokenBudget:
    """Finds the budget of a model's forward passes in this process.

    Args:
        spec: How inference runs.
        encoder: The loaded model.

    Returns:
        The budget that the settings name, or one that is found by trying; the same object for the same encoder.
    """
    known = _budgets.setdefault(encoder, {})
    if spec.token_budget not in known:
        known[spec.token_budget] = TokenBudget(_candidates(spec, encoder))
    return known[spec.token_budget]


def _candidates(spec: InferenceSpec, encoder: Encoder) -> Sequence[int]:
    if spec.token_budget:
        return [spec.token_budget]
    if not encoder.is_padded:
        return [_STATIC_BUDGET]
    return _CANDIDATES["cuda" if encoder.device.startswith("cuda") else "cpu"]
