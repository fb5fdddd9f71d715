"""Passes and copies of a model on the second of two GPUs, both of them made up."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from udfs.encoders.sentence import SentenceEncoder, fetched, on_device
from udfs.inference.engine import embed_texts
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

FIRST, SECOND = torch.device("cuda:0"), torch.device("cuda:1")


class Gpus:
    """Two GPUs as torch shows them: each thread has a current one, at first the first, and each has its own queue."""

    def __init__(self) -> None:
        self._current = threading.local()
        self.waited: list[torch.device] = []
        self.ran_on: list[torch.device] = []

    @property
    def current(self) -> torch.device:
        return getattr(self._current, "device", FIRST)

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self._current.device = self.current, device
        yield
        self._current.device = before

    def stream(self, device: torch.device | None = None) -> torch.device:
        """A queue goes by the name of its GPU."""
        return device or self.current

    def event(self) -> "Event":
        return Event(self)


class Event:
    def __init__(self, gpus: Gpus) -> None:
        self.gpus = gpus

    def record(self, stream: torch.device | None = None) -> None:
        self.stream = stream or self.gpus.current

    def synchronize(self) -> None:
        self.gpus.waited.append(self.stream)


class Rows:
    """A matrix on the second GPU."""

    device, dtype, shape = SECOND, torch.float32, (2, 3)


class Pinned:
    """The processor's memory, which the copy reaches late."""

    def copy_(self, rows: Rows, non_blocking: bool) -> None:
        assert non_blocking

    def numpy(self) -> np.ndarray[Any, Any]:
        return np.ones((2, 3), dtype=np.float32)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    made = Gpus()
    monkeypatch.setattr(torch.cuda, "device", made.device)
    monkeypatch.setattr(torch.cuda, "current_stream", made.stream)
    monkeypatch.setattr(torch.cuda, "Event", made.event)
    return made


def test_rows_are_awaited_on_the_gpu_that_copies_them(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "empty", lambda *_, **__: Pinned())
    rows = fetched(Rows())  # type: ignore[arg-type]
    assert gpus.current == FIRST
    assert gpus.waited == []
    assert rows().tolist() == [[1.0] * 3] * 2
    assert gpus.waited == [SECOND]


def test_every_pass_runs_with_its_gpu_as_the_current_one(
    model_folder: Path, gpus: Gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = InferenceSpec(
        model=describe_model(str(model_folder)), device="cpu", dtype="float32", backend="torch", token_budget=32
    )
    encoder = SentenceEncoder(spec, cores=1)
    expected = embed_texts(encoder, ["owl", "who hunts at night"], spec).matrix
    # The weights stay where they are; only what the encoder believes of them changes.
    run = encoder._run

    def noted(features: dict[str, Any]) -> torch.Tensor:
        gpus.ran_on.append(gpus.current)
        return run(features)

    monkeypatch.setattr(encoder, "_place", SECOND)
    monkeypatch.setattr(encoder, "_moved", lambda value: value)
    monkeypatch.setattr(encoder, "_run", noted)
    found = embed_texts(encoder, ["owl", "who hunts at night"], spec)
    assert np.abs(found.matrix - expected).max() < 1e-6
    assert set(gpus.ran_on) == {SECOND}
    assert gpus.current == FIRST


def test_attention_that_plans_each_shape_of_a_pass_is_off(model_folder: Path) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    spec = InferenceSpec(model=describe_model(str(model_folder)), device="cpu", dtype="float32", backend="torch")
    SentenceEncoder(spec, cores=1)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_a_processor_has_no_current_device(gpus: Gpus) -> None:
    with on_device(torch.device("cpu")):
        assert gpus.current == FIRST


def test_tensors_go_to_the_gpu_of_the_weights_from_pinned_memory(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[Any]] = []

    class Sent(torch.Tensor):
        def pin_memory(self, *_: Any) -> Any:
            asked.append(["pinned"])
            return self

        def to(self, *place: Any, **options: Any) -> Any:
            asked.append([*place, options])
            return self

    spec = InferenceSpec(model=describe_model(str(model_folder)), device="cpu", dtype="float32", backend="torch")
    encoder = SentenceEncoder(spec, cores=1)
    monkeypatch.setattr(encoder, "_place", SECOND)
    encoder._moved(Sent())
    assert asked == [["pinned"], [SECOND, {"non_blocking": True}]]
    assert encoder._moved("text") == "text"
