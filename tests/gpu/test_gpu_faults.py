"""What the engine does when a real GPU runs out of memory or numbers leave the range of half precision."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that torch can use", allow_module_level=True)

from safetensors.torch import load_file, save_file  # noqa: E402

from udfs.encoders.sentence import SentenceEncoder  # noqa: E402
from udfs.inference.engine import embed_texts, embed_windows  # noqa: E402
from udfs.inference.meter import Meter  # noqa: E402
from udfs.inference.passes import PassFault, pass_fault  # noqa: E402
from udfs.inference.token_budget import TokenBudget  # noqa: E402
from udfs.models.source import describe_model  # noqa: E402
from udfs.specs import InferenceSpec  # noqa: E402

MEBIBYTE = 2**20


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Lets this process use a little more of the GPU's memory than it holds now."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 200 * MEBIBYTE) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pass_that_does_not_fit_is_halved_and_gives_the_same_vectors(
    spec: InferenceSpec, texts: list[str], on_cpu: np.ndarray, dtype: str, request: pytest.FixtureRequest
) -> None:
    gpu = replace(spec, device="cuda", dtype=dtype)
    encoder = SentenceEncoder(gpu, cores=1)
    request.getfixturevalue("little_memory")
    budget, meter = TokenBudget([1_000_000]), Meter()
    many = texts * 5
    (found,) = embed_windows(encoder, iter([many]), gpu, budget, meter)
    assert meter.take()["out_of_memory"] >= 1
    assert budget.tokens <= 250_000
    assert found.reasons == [None] * len(many)
    expected = np.concatenate([on_cpu] * 5)
    if dtype == "float32":
        assert np.abs(found.matrix - expected).max() < 1e-5
    else:
        assert (found.matrix * expected).sum(axis=1).min() > 0.999


def test_errors_of_a_real_gpu_are_told_apart() -> None:
    with pytest.raises(Exception) as caught:
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    assert pass_fault(caught.value) is PassFault.MEMORY
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3, device="cuda") @ torch.ones(2, 3, device="cuda")
    assert pass_fault(caught.value) is PassFault.TEXT


@pytest.fixture
def overflowing(model_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The model with a layer whose numbers leave the range of float16, which the next one brings back."""
    folder = tmp_path / "overflowing"
    shutil.copytree(model_folder, folder)
    weights = load_file(folder / "model.safetensors")
    for name, tensor in weights.items():
        if name.endswith("layer.2.intermediate.dense.weight") or name.endswith("layer.2.intermediate.dense.bias"):
            weights[name] = tensor * 1e5
        elif name.endswith("layer.2.output.dense.weight"):
            weights[name] = tensor * 1e-5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    yield folder
    shutil.rmtree(folder)


def test_vectors_that_overflow_in_float16_are_computed_again_in_float32(overflowing: Path, texts: list[str]) -> None:
    spec = InferenceSpec(model=describe_model(str(overflowing)), device="cpu", dtype="float32", backend="torch")
    some = texts[:12]
    expected = embed_texts(SentenceEncoder(spec, cores=4), some, spec).matrix
    gpu = replace(spec, device="cuda", dtype="float16")
    encoder, meter = SentenceEncoder(gpu, cores=4), Meter()
    (found,) = embed_windows(encoder, iter([some]), gpu, TokenBudget([4096]), meter)
    assert meter.take()["retried"] == len(some)
    assert found.reasons == [None] * len(some)
    assert np.abs(found.matrix - expected).max() < 1e-5


def test_one_vector_that_is_not_finite_spoils_no_other(
    spec: InferenceSpec, texts: list[str], on_cpu: np.ndarray
) -> None:
    gpu = replace(spec, device="cuda", dtype="bfloat16")
    encoder, meter = SentenceEncoder(gpu, cores=4), Meter()
    run = encoder._run

    def spoiled(features: dict[str, object]) -> "torch.Tensor":
        rows = run(features)
        rows[0, 7] = float("nan")
        return rows

    encoder._run = spoiled
    (found,) = embed_windows(encoder, iter([texts]), gpu, TokenBudget([4096]), meter)
    taken = meter.take()
    assert taken["retried"] == taken["passes"] > 3
    assert found.reasons == [None] * len(texts)
    assert (found.matrix * on_cpu).sum(axis=1).min() > 0.999
