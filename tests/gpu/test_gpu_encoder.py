"""The vectors of the real model on a real GPU; skipped where there is none. Needs no Spark."""

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that torch can use", allow_module_level=True)

from udfs.encoders import sentence  # noqa: E402
from udfs.encoders.encoder import load_encoder, release_encoders  # noqa: E402
from udfs.encoders.sentence import SentenceEncoder, choose_device, choose_dtype  # noqa: E402
from udfs.inference.engine import embed_texts, embed_windows  # noqa: E402
from udfs.inference.meter import Meter  # noqa: E402
from udfs.inference.token_budget import TokenBudget, token_budget  # noqa: E402
from udfs.specs import InferenceSpec  # noqa: E402

HALF = ("bfloat16", "float16")


def on_gpu(spec: InferenceSpec, texts: list[str], dtype: str, budget: int | None = None) -> np.ndarray:
    gpu = replace(spec, device="cuda", dtype=dtype, token_budget=budget)
    found = embed_texts(load_encoder(gpu), texts, gpu)
    assert found.reasons == [None] * len(texts)
    return found.matrix


def cosines(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return (found * expected).sum(axis=1)


def test_float32_vectors_equal_those_of_the_processor(
    spec: InferenceSpec, texts: list[str], on_cpu: np.ndarray
) -> None:
    assert np.abs(on_gpu(spec, texts, "float32") - on_cpu).max() < 1e-5


@pytest.mark.parametrize("dtype", ["auto", *HALF])
def test_half_precision_vectors_are_comparable(
    spec: InferenceSpec, texts: list[str], on_cpu: np.ndarray, dtype: str
) -> None:
    found = on_gpu(spec, texts, dtype)
    assert cosines(found, on_cpu).min() > 0.999
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize("budget", [1, 300, 5000, 1_000_000])
def test_float32_vectors_depend_on_neither_order_nor_size_of_passes(
    spec: InferenceSpec, texts: list[str], on_cpu: np.ndarray, budget: int
) -> None:
    order = random.Random(budget).sample(range(len(texts)), len(texts))
    found = on_gpu(spec, [texts[index] for index in order], "float32", budget)
    assert np.abs(found - on_cpu[order]).max() < 1e-5


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_vectors_hardly_depend_on_order_and_size_of_passes(
    spec: InferenceSpec, texts: list[str], dtype: str
) -> None:
    alone = on_gpu(spec, texts, dtype, 1)
    for budget in (300, 5000, 1_000_000):
        order = random.Random(budget).sample(range(len(texts)), len(texts))
        found = on_gpu(spec, [texts[index] for index in order], dtype, budget)
        assert cosines(found, alone[order]).min() > 0.9999


def test_windows_give_the_vectors_of_one_window(spec: InferenceSpec, texts: list[str], on_cpu: np.ndarray) -> None:
    def windows() -> Iterator[list[str]]:
        yield from (texts[start : start + 70] for start in range(0, len(texts), 70))

    gpu = replace(spec, device="cuda", dtype="float32")
    found = list(embed_windows(load_encoder(gpu), windows(), gpu, TokenBudget([2000, 4000]), Meter()))
    assert np.abs(np.concatenate([result.matrix for result in found]) - on_cpu).max() < 1e-5


def test_auto_takes_the_gpu_in_half_precision_with_a_large_budget(spec: InferenceSpec) -> None:
    assert choose_device("auto", partition=5) == f"cuda:{5 % torch.cuda.device_count()}"
    newer = torch.cuda.get_device_capability(0) >= (8, 0)
    assert choose_dtype("auto", "cuda:0") == choose_dtype("auto", "cuda") == ("bfloat16" if newer else "float16")
    assert choose_dtype("auto", "cuda:0", torch.float16) == "float16"
    gpu = load_encoder(replace(spec, device="cuda", dtype="auto"))
    assert token_budget(spec, gpu).tokens > token_budget(spec, load_encoder(spec, cores=8)).tokens


def test_the_device_of_a_task_is_one_that_holds_the_weights(spec: InferenceSpec) -> None:
    encoder = SentenceEncoder(replace(spec, device=choose_device("auto", partition=7)), cores=1, partition=7)
    assert str(encoder._model.device) == encoder.device


def test_half_precision_goes_without_padding(spec: InferenceSpec) -> None:
    assert not load_encoder(replace(spec, device="cuda", dtype="bfloat16")).is_padded
    assert not load_encoder(replace(spec, device="cuda", dtype="float16")).is_padded
    assert load_encoder(replace(spec, device="cuda", dtype="float32")).is_padded


@pytest.mark.parametrize("dtype", HALF)
def test_passes_without_padding_agree_with_padded_ones(
    spec: InferenceSpec, texts: list[str], on_cpu: np.ndarray, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = replace(spec, device="cuda", dtype=dtype)
    monkeypatch.setattr(sentence, "unpad", lambda *_: None)
    padded = SentenceEncoder(gpu, cores=1)
    assert padded.is_padded
    expected = embed_texts(padded, texts, gpu).matrix
    found = on_gpu(spec, texts, dtype)
    assert cosines(found, expected).min() > 0.9999
    # Going without padding costs no precision.
    assert 1 - cosines(found, on_cpu).min() < 1.5 * (1 - cosines(expected, on_cpu).min()) + 1e-6


def test_a_model_is_freed_before_another_is_loaded(spec: InferenceSpec) -> None:
    release_encoders()
    before = torch.cuda.memory_allocated()
    load_encoder(replace(spec, device="cuda", dtype="float32"))
    of_one = torch.cuda.memory_allocated() - before
    assert of_one > 50_000_000
    torch.cuda.reset_peak_memory_stats()
    load_encoder(replace(spec, device="cuda", dtype="bfloat16"))
    assert torch.cuda.memory_allocated() - before < 0.7 * of_one
    release_encoders()
    assert torch.cuda.memory_allocated() == before
