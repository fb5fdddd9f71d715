"""Passes and copies that a real GPU runs while Python goes on: nothing waits for them, and nothing comes too early."""

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that torch can use", allow_module_level=True)

from udfs.encoders.sentence import SentenceEncoder  # noqa: E402
from udfs.specs import InferenceSpec  # noqa: E402

# Cycles of the GPU's clock that keep it busy for about a second.
BUSY = 1_500_000_000


@pytest.fixture(scope="module", params=["bfloat16", "float32"])
def encoder(request: pytest.FixtureRequest, spec: InferenceSpec) -> SentenceEncoder:
    return SentenceEncoder(replace(spec, device="cuda:0", dtype=request.param), cores=1)


@pytest.fixture(scope="module")
def batches(encoder: SentenceEncoder, texts: list[str]) -> list[Any]:
    """Of different sizes, so that buffers in pinned memory are of sizes that another batch can take over."""
    items = encoder.tokenize(texts).items
    return [items[start : start + 1 + start % 9] for start in range(0, 390, 6)]


def closest(found: np.ndarray, expected: np.ndarray) -> float:
    return float((found * expected).sum(axis=1).min())


def test_rows_are_those_of_their_own_pass_however_late_it_runs(encoder: SentenceEncoder, batches: list[Any]) -> None:
    expected = [encoder.forward(batch)() for batch in batches]
    torch.cuda.synchronize()
    torch.cuda._sleep(BUSY)
    waiting = [encoder.forward(batch) for batch in batches]
    for rows, values in zip(waiting, expected, strict=True):
        assert closest(rows(), values) > 0.99999


def test_a_pass_without_padding_is_only_started(encoder: SentenceEncoder, batches: list[Any]) -> None:
    if encoder.is_padded:
        pytest.skip("the attention mask of padded passes is looked at before they run")
    expected = encoder.forward(batches[8])()
    torch.cuda.synchronize()
    torch.cuda._sleep(BUSY)
    began = time.perf_counter()
    rows = encoder.forward(batches[8])
    started = time.perf_counter() - began
    values = rows()
    finished = time.perf_counter() - began
    assert started < finished / 2
    assert closest(values, expected) > 0.99999


def test_nothing_in_a_pass_without_padding_waits_for_the_gpu(encoder: SentenceEncoder, batches: list[Any]) -> None:
    if encoder.is_padded:
        pytest.skip("the attention mask of padded passes is looked at before they run")
    encoder.forward(batches[3])()
    torch.cuda.set_sync_debug_mode("error")
    try:
        rows = encoder.forward(batches[3])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(rows()).all()


def test_rows_of_a_pass_in_another_queue_are_awaited(encoder: SentenceEncoder, batches: list[Any]) -> None:
    expected = encoder.forward(batches[5])()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(BUSY)
        rows = encoder.forward(batches[5])
    assert closest(rows(), expected) > 0.99999


def test_rows_can_be_awaited_in_another_thread(encoder: SentenceEncoder, batches: list[Any]) -> None:
    expected = [encoder.forward(batch)() for batch in batches]
    found: list[np.ndarray] = []
    started: list[Any] = []

    def start() -> None:
        torch.cuda._sleep(BUSY)
        started.extend(encoder.forward(batch) for batch in batches)

    for task in (start, lambda: found.extend(rows() for rows in started)):
        thread = threading.Thread(target=task)
        thread.start()
        thread.join()
    assert min(closest(rows, values) for rows, values in zip(found, expected, strict=True)) > 0.99999
