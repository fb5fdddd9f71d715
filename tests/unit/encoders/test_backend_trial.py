"""The trial of two backends: in turns, by medians, without computing anything twice."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import InputError
from udfs.encoders import backend_trial
from udfs.encoders.backend_trial import BackendTrial, NotTriedError, TrialEncoder
from udfs.encoders.protocol import BackendChoice
from udfs.encoders.tokens import Tokenized
from udfs.inference.engine import embed_windows
from udfs.inference.meter import Meter
from udfs.inference.token_budget import TokenBudget
from udfs.specs import InferenceSpec, ModelSpec, Precision

SPEC = InferenceSpec(model=ModelSpec(path="made up", digest="0", dimension=2, max_tokens=50))


class Clock:
    """Time that passes only in forward passes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed:
    """A backend that takes a given time for each token; a text is the list of its tokens."""

    def __init__(self, backend: str, clock: Clock, seconds: float, fails: bool = False) -> None:
        self.device = "cpu"
        self.dtype: Precision = "float32"
        self.is_padded = True
        self.is_on_trial = False
        self.choice = BackendChoice(backend=backend)
        self.clock, self.seconds, self.fails = clock, seconds, fails
        self.passes: list[list[str]] = []

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        return Tokenized(texts, [len(text) for text in texts], [len(text) for text in texts])

    def forward(self, items: Sequence[str]) -> Callable[[], NDArray[np.float32]]:
        if self.fails or "!" in items[0]:
            raise RuntimeError("no")
        self.passes.append(list(items))
        self.clock.now += self.seconds * sum(map(len, items))
        return lambda: np.full((len(items), 2), 1 if self.choice.backend == "torch" else 2, np.float32)

    def exact(self, item: str) -> NDArray[np.float32]:
        return self.forward([item])()

    def twin(self, spec: InferenceSpec) -> "Timed | None":
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(backend_trial, "perf_counter", clock)
    return clock


def trial_of(first: Timed, rival: Any, after: float = 0.0) -> tuple[TrialEncoder, list[BackendChoice]]:
    decided: list[BackendChoice] = []

    def load() -> Any:
        if isinstance(rival, Exception):
            raise rival
        return rival

    return TrialEncoder(first, load, after, decided.append), decided


@pytest.mark.parametrize(("torch", "openvino", "fastest"), [(1.0, 2.0, "torch"), (2.0, 1.0, "openvino")])
def test_the_faster_backend_runs_all_later_passes(clock: Clock, torch: float, openvino: float, fastest: str) -> None:
    first, rival = Timed("torch", clock, torch), Timed("openvino", clock, openvino)
    encoder, decided = trial_of(first, rival)
    texts = [f"{number:05}" for number in range(40)]
    rows = [encoder.forward([text])() for text in texts]
    assert (len(first.passes), len(rival.passes)) == ((35, 5) if fastest == "torch" else (5, 35))
    assert sorted(text for backend in (first, rival) for (text,) in backend.passes) == texts, "each is computed once"
    assert [row[0, 0] for row in rows[:4]] == [1, 2, 1, 2]
    expected = BackendChoice(backend=fastest, torch_rate=1 / torch, openvino_rate=1 / openvino)
    assert decided == [encoder.choice] == [expected]


def test_one_slow_pass_and_the_first_one_do_not_decide() -> None:
    trial = BackendTrial(["torch", "openvino"])
    for number in range(10):
        name = trial.turn
        fast = 1.0 if name == "openvino" else 2.0
        trial.passed(name, 100, 100, 500.0 if number in (1, 5) else fast)
    assert trial.winner == "openvino"
    assert trial.rate("openvino") == 100.0


def test_small_passes_are_run_in_turns_but_not_measured() -> None:
    trial = BackendTrial(["torch", "openvino"])
    for cost in (100, 100, *[10] * 20):
        trial.passed(trial.turn, cost, cost, 1.0)
    assert (trial.winner, trial.rate("torch"), trial.rate("openvino")) == (None, None, None)
    for _ in range(8):
        trial.passed(trial.turn, 60, 60, 1.0)
    assert trial.winner is not None


def test_a_full_and_a_small_pass_in_turn_do_not_leave_one_backend_with_the_small_ones() -> None:
    trial = BackendTrial(["torch", "openvino"])
    for number in range(30):
        trial.passed(trial.turn, (100, 10)[number % 2], 10, 1.0)
    assert trial.winner is not None


def test_the_rival_is_loaded_only_when_there_is_work_for_it(clock: Clock) -> None:
    first, rival = Timed("torch", clock, 1.0), Timed("openvino", clock, 0.5)
    encoder, _ = trial_of(first, rival, after=12.0)
    for number in range(6):
        assert encoder.is_on_trial is (number >= 3), number
        encoder.forward(["12345"])
    assert (len(first.passes), len(rival.passes)) == (5, 1)


@pytest.mark.parametrize(
    ("error", "note", "is_remembered"),
    [
        (NotTriedError("it cannot. Set it to torch."), "it cannot. Set it to torch.", True),
        (InputError("the folder is gone. Restore it."), "the folder is gone. Restore it.", False),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device", False),
        (MemoryError(), "MemoryError", False),
    ],
)
def test_a_rival_that_cannot_be_loaded_is_said_and_costs_nothing_else(
    clock: Clock, error: Exception, note: str, is_remembered: bool
) -> None:
    first = Timed("torch", clock, 1.0)
    encoder, decided = trial_of(first, error)
    for _ in range(3):
        encoder.forward(["12345"])
    assert len(first.passes) == 3
    assert encoder.choice == BackendChoice(backend="torch", note=note)
    assert decided == ([encoder.choice] if is_remembered else [])


def test_no_text_fails_because_a_faster_way_was_tried(clock: Clock) -> None:
    first, rival = Timed("torch", clock, 1.0), Timed("openvino", clock, 0.5, fails=True)
    encoder, decided = trial_of(first, rival)
    assert [encoder.forward(["12345"])()[0, 0] for _ in range(4)] == [1.0] * 4
    assert len(first.passes) == 4
    assert encoder.choice.backend == "torch"
    assert encoder.choice.note == "OpenVINO raised RuntimeError in a pass that torch could run"
    assert decided == [], "another worker may have more luck"


def test_a_text_that_no_backend_can_embed_decides_nothing(clock: Clock) -> None:
    first, rival = Timed("torch", clock, 1.0), Timed("openvino", clock, 0.5)
    encoder, _ = trial_of(first, rival)
    encoder.forward(["12345"])
    for _ in range(3):
        with pytest.raises(RuntimeError):
            encoder.forward(["!"])
    assert encoder.is_on_trial


def test_sizes_of_passes_are_tried_after_the_backend_is_chosen(clock: Clock) -> None:
    first, rival = Timed("torch", clock, 1.0), Timed("openvino", clock, 0.5)
    encoder, _ = trial_of(first, rival)
    budget, meter = TokenBudget([40, 20]), Meter()
    list(embed_windows(encoder, iter([["12345"] * 200]), SPEC, budget, meter))
    sizes = [len(each) * 5 for each in first.passes]
    assert sizes == [40] * 5
    assert {len(each) * 5 for each in rival.passes[:5]} == {40}
    assert 20 in {len(each) * 5 for each in rival.passes}
    assert budget.is_chosen
    assert meter.take()["tokens"] == 1000, "every text once"
