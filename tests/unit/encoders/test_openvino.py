"""The model run by OpenVINO gives torch's vectors and sends no telemetry."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

from schemas.errors import InputError
from udfs.encoders import openvino
from udfs.encoders.encoder import load_encoder, release_encoders
from udfs.inference.engine import embed_texts
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

# Looked for and not imported: the first import decides whether conversions are reported.
if find_spec("openvino") is None:
    pytest.skip("OpenVINO is an optional dependency", allow_module_level=True)

TEXTS = ["a", "", "Who hunts at night? \U0001f989", "x y " * 200, "owl " * 30, "[SEP]"]


@pytest.fixture(scope="module")
def spec(model_folder: Path) -> InferenceSpec:
    model = describe_model(str(model_folder), document_prompt="passage: ")
    return InferenceSpec(model=model, device="cpu", dtype="float32", token_budget=512)


@pytest.fixture(scope="module")
def by_torch(spec: InferenceSpec) -> np.ndarray:
    return embed_texts(load_encoder(spec, cores=2), TEXTS, spec).matrix


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    results: list[Any] = []

    def first_result(*given: Any, **options: Any) -> Any:
        results.extend([] if results else [function(*given, **options)])
        return results[0]

    return first_result


@pytest.fixture(scope="module", autouse=True)
def converted_once() -> Iterator[None]:
    """Every encoder here is of one model and takes the same inputs, so that one conversion serves them all."""
    package = openvino._openvino()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.jit, "trace", once(torch.jit.trace))
        patch.setattr(package, "convert_model", once(package.convert_model))
        yield


def test_vectors_match_torch(spec: InferenceSpec, by_torch: np.ndarray) -> None:
    other = replace(spec, backend="openvino")
    encoder = load_encoder(other, cores=2)
    for texts in (TEXTS, TEXTS[::-1], TEXTS[:1]):
        found = embed_texts(encoder, texts, other)
        assert found.reasons == [None] * len(texts)
        expected = by_torch[[TEXTS.index(text) for text in texts]]
        assert np.abs(found.matrix - expected).max() < 1e-5


def test_half_precision_is_comparable(spec: InferenceSpec, by_torch: np.ndarray) -> None:
    half = replace(spec, backend="openvino", dtype="bfloat16")
    assert (embed_texts(load_encoder(half, cores=2), TEXTS, half).matrix * by_torch).sum(axis=1).min() > 0.999


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says where threads may run")
def test_workers_of_one_machine_do_not_share_one_core(spec: InferenceSpec) -> None:
    other = replace(spec, backend="openvino")
    encoder = load_encoder(other, cores=1)
    worker = Thread(target=embed_texts, args=(encoder, TEXTS * 10, other))
    cores = set()
    worker.start()
    while worker.is_alive():
        for thread in os.listdir("/proc/self/task"):
            # Threads end meanwhile.
            with suppress(ProcessLookupError):
                cores.add(frozenset(os.sched_getaffinity(int(thread))))
        worker.join(0.02)
    assert cores == {frozenset(os.sched_getaffinity(0))}


def test_a_model_whose_vectors_differ_from_torch_is_refused(
    spec: InferenceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = openvino._by_torch
    monkeypatch.setattr(openvino, "_by_torch", lambda model, features: right(model, features) + 2e-5)
    asked = replace(spec, backend="openvino")
    release_encoders()
    with pytest.raises(InputError, match=r"other vectors for this model than torch \(difference 2.*Set it to torch"):
        load_encoder(asked, cores=2)


def test_a_missing_openvino_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install 'embedlake\[openvino\]'"):
        openvino._openvino()


def test_conversions_send_no_telemetry() -> None:
    openvino._openvino()
    from openvino.tools.ovc import telemetry_utils

    assert sys.modules["openvino_telemetry"] is None
    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
