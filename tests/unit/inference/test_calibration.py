"""Trials of pass sizes, and what is concluded from them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import Row

from schemas.worker_rows import TRIALS
from spark_jobs.calibrate_inference import SizeResult, as_calibration, recommend, save_plot
from udfs.encoders.backend_trial import TrialEncoder
from udfs.encoders.fake import FakeEncoder
from udfs.encoders.protocol import BackendChoice
from udfs.encoders.tokens import Tokenized
from udfs.inference.calibration import PassSize, sizes_for, trials
from udfs.specs import InferenceSpec, Precision

TEXTS = ["one two three", "one", "one two three four", "one two"]


class SmallEncoder:
    """A token for each character, and memory for ten."""

    def __init__(self) -> None:
        self.device = "cpu"
        self.dtype: Precision = "float32"
        self.is_padded = True
        self.is_on_trial = False
        self.choice = BackendChoice(backend="small")
        self.calls: list[list[str]] = []

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        counts = [len(text) for text in texts]
        return Tokenized(texts, counts, counts)

    def forward(self, items: Sequence[str]) -> Callable[[], NDArray[np.float32]]:
        self.calls.append(list(items))
        if len(items) * len(items[0]) > 10:
            raise RuntimeError("CUDA out of memory")
        return lambda: np.ones((len(items), 2), dtype=np.float32)

    def exact(self, item: str) -> NDArray[np.float32]:
        return self.forward([item])()

    def twin(self, spec: InferenceSpec) -> None:
        """There is no other prompt."""


def test_every_size_sees_every_text_in_every_round() -> None:
    sizes = [PassSize("rows", 2), PassSize("tokens", 12), PassSize("rows", 3)]
    found = list(trials(FakeEncoder(4), TEXTS, sizes, rounds=2))
    assert [trial.size for trial in found] == [*sizes, *sizes[1:], sizes[0]], "each round begins with another size"
    assert {(trial.texts, trial.tokens) for trial in found} == {(4, 18)}
    # Tokens of the texts, longest first: 6, 5, 4, 3.
    assert [trial.computed for trial in found[:3]] == [6 * 2 + 4 * 2, 6 * 2 + 4 * 2, 6 * 3 + 3]
    assert [len(trial.latencies) for trial in found[:3]] == [2, 2, 2]
    assert all(trial.seconds == pytest.approx(sum(trial.latencies)) for trial in found)
    assert all(trial.peak_mebibytes > 1 for trial in found)


def test_a_size_that_does_not_fit_is_reported() -> None:
    encoder = SmallEncoder()
    small, large = trials(encoder, ["aaa", "bbb", "cc", "dd"], [PassSize("rows", 2), PassSize("rows", 4)], rounds=1)
    assert (small.texts, large.texts, large.latencies) == (4, 0, [])
    assert encoder.calls == [["aaa"], ["aaa", "bbb"], ["cc", "dd"], ["aaa", "bbb", "cc", "dd"]]


@pytest.mark.parametrize(("device", "largest"), [("cpu", 8192), ("cuda:1", 131_072)])
def test_sizes_are_powers_of_two_and_budgets_for_the_device(device: str, largest: int) -> None:
    sizes = sizes_for(device)
    assert [size.value for size in sizes if size.kind == "rows"] == [16, 32, 64, 128, 256, 512]
    assert max(size.value for size in sizes if size.kind == "tokens") == largest


def row(kind: str, value: int, seconds: float, texts: int = 100, peak: float = 10.0) -> Row:
    latencies = [seconds / 2] * 2 if texts else []
    counted = (texts, texts * 10, texts * 20, seconds, latencies, peak)
    return Row(*TRIALS.names)(kind, value, *counted, "cpu", "float32")


def test_figures_are_medians_over_rounds() -> None:
    rows = [row("tokens", 64, seconds) for seconds in (1.0, 2.0, 10.0)] + [row("rows", 8, 4.0)]
    found = as_calibration(rows)
    rows_of_8, tokens_64 = found.results
    assert (rows_of_8.kind, rows_of_8.texts_per_second) == ("rows", 25.0)
    assert (tokens_64.texts_per_second, tokens_64.tokens_per_second, tokens_64.padding) == (50.0, 500.0, 0.5)
    assert (tokens_64.p50, tokens_64.p99) == (pytest.approx(1.0), pytest.approx(5.0))
    assert (found.device, found.dtype, found.token_budget) == ("cpu", "float32", 64)
    assert "2.00 times the best fixed number of rows (8)" in found.why


def result(value: int, rate: float, kind: str = "tokens") -> SizeResult:
    return SizeResult(kind, value, rate, 10 * rate, 0.0, 0.1, 0.1, 0.1, float(value))


@pytest.mark.parametrize(
    ("rates", "expected", "words"),
    [
        ({512: 100.0, 1024: 150.0, 2048: 120.0}, 1024, "150 texts/s, the highest median"),
        ({512: 148.0, 1024: 150.0}, 512, "148 texts/s, within 3% of the highest median (150 with 1,024)"),
        ({512: 100.0, 1024: 0.0}, 512, "100 texts/s"),
        ({512: 0.0, 1024: 0.0}, 256, "not even 512 tokens fit into memory"),
    ],
)
def test_the_smallest_budget_within_3_percent_of_the_fastest_is_recommended(
    rates: dict[int, float], expected: int, words: str
) -> None:
    budget, why = recommend([result(value, rate) for value, rate in rates.items()])
    assert budget == expected
    assert words in why


def test_a_size_that_failed_once_is_not_recommended() -> None:
    rows = [row("tokens", 64, 1.0), row("tokens", 64, 0.0, texts=0), row("tokens", 32, 2.0), row("tokens", 32, 2.0)]
    assert as_calibration(rows).token_budget == 32


def test_figures_and_plot_are_written(tmp_path: Path) -> None:
    found = as_calibration([row("tokens", 64, 1.0), row("tokens", 128, 0.0, texts=0), row("rows", 8, 2.0)])
    assert json.loads(json.dumps(found.as_dict()))["token_budget"] == 64
    assert found.table().row_count == 3
    save_plot(found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_backend_is_chosen_before_sizes_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("udfs.encoders.backend_trial.perf_counter", lambda: float(next(clock)))
    first, rival = SmallEncoder(), SmallEncoder()
    first.choice, rival.choice = BackendChoice(backend="torch"), BackendChoice(backend="openvino")
    encoder = TrialEncoder(first, lambda: rival, 60.0, lambda choice: None)
    list(trials(encoder, ["one", "two"], [PassSize("rows", 2)], rounds=3))
    assert not encoder.is_on_trial
    tried = len(first.calls) + len(rival.calls)
    # Five passes of each for the trial, one to warm up, and one for each round, all by the one that was chosen.
    assert tried == 2 * 5 + 1 + 3
    assert sorted((len(first.calls), len(rival.calls))) == [5, 9]
