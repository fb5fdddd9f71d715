"""Two backends take turns on the first passes of a worker, until it is known which one is faster."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from udfs.encoders.protocol import BackendChoice, Encoder
from udfs.specs import InferenceSpec

# Passes of each backend before one is chosen.
_TRIALS = 4
# A pass counts only if it computes at least this fraction of the largest one: small passes are mostly overhead.
_FULL = 0.5


class BackendTrial:
    """The rates of two backends on passes that have to be run anyway.

    They take turns, so that a slower moment of the machine, or longer texts, affect both. Neighboring passes are of
    similar size, because texts are ordered by length.

    Args:
        names: The backends; the first one begins.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._rates: dict[str, list[float]] = {name: [] for name in names}
        self._warm: set[str] = set()
        self._largest = 0
        self._turns = dict.fromkeys(names, 0)

    @property
    def turn(self) -> str:
        """The backend of the next pass."""
        # By passes that count: of two passes a window, a full and a small one, each backend would always get the same.
        return min(self._turns, key=lambda name: (len(self._rates[name]), self._turns[name]))

    @property
    def winner(self) -> str | None:
        """The backend with the highest median; None while there are too few passes."""
        if any(len(rates) < _TRIALS for rates in self._rates.values()):
            return None
        return max(self._rates, key=lambda name: median(self._rates[name]))

    def passed(self, name: str, cost: int, tokens: int, seconds: float) -> None:
        """Records a pass.

        Args:
            name: The backend that ran it.
            cost: Tokens computed, including padding.
            tokens: Tokens of the texts alone.
            seconds: Duration of the pass.
        """
        self._turns[name] += 1
        self._largest = max(self._largest, cost)
        # The first pass of a backend allocates, loads and compiles, so it does not count.
        if name in self._warm and cost >= _FULL * self._largest:
            self._rates[name].append(tokens / max(seconds, 1e-9))
        self._warm.add(name)

    def rate(self, name: str) -> float | None:
        """Returns the median tokens per second of a backend; None before its first pass that counts."""
        rates = self._rates.get(name)
        return median(rates) if rates else None


class NotTriedError(InputError):
    """A backend that can never run this model on this machine; the message says why."""


class TrialEncoder:
    """Runs each pass of a model by one of two backends until the faster one is known, and lets go of the other.

    Args:
        first: The backend that is loaded.
        load_rival: Loads the other one. If that fails, the first one stays.
        after_seconds: How long the first one runs before the other is loaded.
        decided: Called with a result that holds for later workers too.
    """

    def __init__(
        self,
        first: Encoder,
        load_rival: Callable[[], Encoder],
        after_seconds: float,
        decided: Callable[[BackendChoice], None],
    ) -> None:
        self.device, self.dtype, self.is_padded = first.device, first.dtype, first.is_padded
        self.tokenize = first.tokenize
        self._load_rival, self._decided, self._seconds_left = load_rival, decided, after_seconds
        self._encoders = {first.choice.backend: first}
        self._trial: BackendTrial | None = None
        # Until it is settled, the one that ran the first passes.
        self.choice, self._is_settled = first.choice, False

    @property
    def is_on_trial(self) -> bool:
        """Whether the next pass belongs to a trial of backends."""
        return not self._is_settled and (self._trial is not None or self._seconds_left <= 0)

    def begin(self) -> None:
        """Loads the other backend, so that the trial begins with the next pass."""
        if self._is_settled or self._trial is not None:
            return
        backend = self.choice.backend
        try:
            rival = self._load_rival()
        except NotTriedError as error:
            self._settle(backend, str(error))
            self._decided(self.choice)
        except (InputError, OSError, MemoryError) as error:
            self._settle(backend, str(error) or type(error).__name__)
        else:
            self._encoders = {**self._encoders, rival.choice.backend: rival}
            self.choice = replace(self.choice, note=self.choice.note or rival.choice.note)
            self._trial = BackendTrial(list(self._encoders))

    def forward(self, items: Sequence[Any]) -> Callable[[], NDArray[np.float32]]:
        """Runs one forward pass by the backend whose turn it is; calling the result returns the rows."""
        if self.is_on_trial:
            self.begin()
        if self._is_settled:
            return self._current.forward(items)
        name = self._trial.turn if self._trial is not None else self.choice.backend
        began = perf_counter()
        rows = self._tried(name, items)
        seconds = perf_counter() - began
        if self._trial is None:
            self._seconds_left -= seconds
        elif not self._is_settled:
            lengths = [len(item) for item in items]
            self._trial.passed(name, len(lengths) * max(lengths), sum(lengths), seconds)
            if self._trial.winner is not None:
                self._settle(self._trial.winner, self.choice.note)
                self._decided(self.choice)
        return lambda: rows

    def exact(self, item: Any) -> NDArray[np.float32]:
        """Embeds one text alone in float32; returns (1, dimension)."""
        return self._current.exact(item)

    def twin(self, spec: InferenceSpec) -> Encoder | None:
        """Makes an encoder for another spec from the weights of the backend in use; it takes no part in the trial."""
        return self._current.twin(spec)

    @property
    def _current(self) -> Encoder:
        # Another thread may settle the trial meanwhile: the backends are looked up before the name.
        return self._encoders[self.choice.backend]

    def _tried(self, name: str, items: Sequence[Any]) -> NDArray[np.float32]:
        try:
            return self._encoders[name].forward(items)()
        except Exception as error:
            if name != "openvino" or "torch" not in self._encoders:
                raise
            # No text may fail because a faster way was tried. If torch fails too, the text is to blame.
            rows = self._encoders["torch"].forward(items)()
            self._settle("torch", f"OpenVINO raised {type(error).__name__} in a pass that torch could run")
            return rows

    def _settle(self, backend: str, note: str | None) -> None:
        rates: dict[str, Any] = (
            {f"{name}_rate": self._trial.rate(name) for name in self._encoders} if self._trial else {}
        )
        self.choice = replace(self._encoders[backend].choice, **rates, note=note)
        self._encoders = {backend: self._encoders[backend]}
        self._is_settled = True
        # Modules and hooks of the other one refer to each other.
        gc.collect()
