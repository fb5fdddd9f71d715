"""Several real GPUs on one machine: each task has its own, and the vectors do not depend on which."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available() or torch.cuda.device_count() < 2:
    pytest.skip("needs two GPUs that torch can use", allow_module_level=True)

from udfs.encoders.sentence import SentenceEncoder, choose_device  # noqa: E402
from udfs.inference.engine import embed_texts  # noqa: E402
from udfs.specs import InferenceSpec  # noqa: E402


def test_neighboring_partitions_have_different_gpus() -> None:
    count = torch.cuda.device_count()
    assert {choose_device("auto", partition=number) for number in range(count)} == {
        f"cuda:{number}" for number in range(count)
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_two_gpus_at_work_at_once_give_the_vectors_of_the_processor(
    spec: InferenceSpec, texts: list[str], on_cpu: np.ndarray, dtype: str
) -> None:
    specs = [replace(spec, device=f"cuda:{number}", dtype=dtype) for number in (0, 1)]
    encoders = [SentenceEncoder(own, cores=1, partition=number) for number, own in enumerate(specs)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda pair: embed_texts(pair[0], texts, pair[1]), zip(encoders, specs, strict=True)))
    for result, encoder, own in zip(found, encoders, specs, strict=True):
        assert encoder.device == own.device == str(encoder._model.device)
        assert result.reasons == [None] * len(texts)
        assert (result.matrix * on_cpu).sum(axis=1).min() > (0.99999 if dtype == "float32" else 0.999)


def test_a_model_holds_memory_of_its_own_gpu_alone(spec: InferenceSpec) -> None:
    before = [torch.cuda.memory_allocated(number) for number in (0, 1)]
    encoder = SentenceEncoder(replace(spec, device="cuda:1", dtype="float32"), cores=1)
    after = [torch.cuda.memory_allocated(number) for number in (0, 1)]
    assert after[0] == before[0] and after[1] > before[1] and encoder.device == "cuda:1"
