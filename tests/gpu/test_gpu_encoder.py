"""The real model on a real GPU; skipped where there is none. Needs no Spark."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that torch can use", allow_module_level=True)

from udfs.encoders.encoder import load_encoder  # noqa: E402
from udfs.encoders.sentence import choose_device, choose_dtype  # noqa: E402
from udfs.inference.engine import embed_texts  # noqa: E402
from udfs.inference.token_budget import token_budget  # noqa: E402
from udfs.models.source import describe_model  # noqa: E402
from udfs.specs import InferenceSpec  # noqa: E402

WORDS = ["quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "rain", "falls", "on", "old", "roofs"]
TEXTS = [" ".join(WORDS[(i * 7 + j) % len(WORDS)] for j in range(1 + (i * i) % 400)) for i in range(400)]


@pytest.fixture(scope="module")
def spec(model_folder: Path) -> InferenceSpec:
    return InferenceSpec(model=describe_model(str(model_folder)), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def on_cpu(spec: InferenceSpec) -> np.ndarray:
    return embed_texts(load_encoder(spec, cores=8), TEXTS, spec).matrix


def on_gpu(spec: InferenceSpec, dtype: str) -> np.ndarray:
    gpu = replace(spec, device="cuda", dtype=dtype)
    found = embed_texts(load_encoder(gpu), TEXTS, gpu)
    assert found.reasons == [None] * len(TEXTS)
    return found.matrix


def test_float32_vectors_equal_those_of_the_processor(spec: InferenceSpec, on_cpu: np.ndarray) -> None:
    assert np.abs(on_gpu(spec, "float32") - on_cpu).max() < 1e-5


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "float16"])
def test_half_precision_vectors_are_comparable(spec: InferenceSpec, on_cpu: np.ndarray, dtype: str) -> None:
    found = on_gpu(spec, dtype)
    assert (found * on_cpu).sum(axis=1).min() > 0.999
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6


def test_auto_takes_the_gpu_in_half_precision_with_a_large_budget(spec: InferenceSpec) -> None:
    assert choose_device("auto", partition=5) == f"cuda:{5 % torch.cuda.device_count()}"
    assert choose_dtype("auto", "cuda:0") in ("bfloat16", "float16")
    gpu = load_encoder(replace(spec, device="cuda", dtype="auto"))
    assert token_budget(spec, gpu).tokens > token_budget(spec, load_encoder(spec, cores=8)).tokens


def test_half_precision_goes_without_padding(spec: InferenceSpec) -> None:
    assert not load_encoder(replace(spec, device="cuda", dtype="bfloat16")).is_padded
    assert load_encoder(replace(spec, device="cuda", dtype="float32")).is_padded
