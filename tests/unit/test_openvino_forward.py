"""The model run by OpenVINO: torch's vectors, and nothing told to anyone."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from schemas.errors import InputError
from udfs.encoders import openvino
from udfs.encoders.encoder import load_encoder
from udfs.inference.engine import embed_texts
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

pytest.importorskip("openvino", reason="OpenVINO is an optional dependency")

TEXTS = ["a", "", "Who hunts at night? \U0001f989", "x y " * 200, "owl " * 30, "[SEP]"]


@pytest.fixture(scope="module")
def spec(model_folder: Path) -> InferenceSpec:
    model = describe_model(str(model_folder), document_prompt="passage: ")
    return InferenceSpec(model=model, device="cpu", dtype="float32", token_budget=512)


@pytest.fixture(scope="module")
def by_torch(spec: InferenceSpec) -> np.ndarray:
    return embed_texts(load_encoder(spec, cores=2), TEXTS, spec).matrix


def test_vectors_equal_torchs(spec: InferenceSpec, by_torch: np.ndarray) -> None:
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
    worker = Thread(target=embed_texts, args=(encoder, TEXTS * 200, other))
    places = set()
    worker.start()
    while worker.is_alive():
        for thread in os.listdir("/proc/self/task"):
            # Threads end meanwhile.
            with suppress(ProcessLookupError):
                places.add(frozenset(os.sched_getaffinity(int(thread))))
    assert places == {frozenset(os.sched_getaffinity(0))}


def test_a_model_that_it_runs_otherwise_is_refused(spec: InferenceSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    right = openvino._by_torch
    monkeypatch.setattr(openvino, "_by_torch", lambda model, features: right(model, features) + 2e-5)
    asked = replace(spec, backend="openvino", role="query")
    with pytest.raises(InputError, match=r"other vectors for this model than torch \(difference 2.*Set it to torch"):
        load_encoder(asked, cores=2)


def test_where_it_is_not_installed_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install 'embedlake\[openvino\]'"):
        openvino._openvino()


def test_conversions_are_reported_to_nobody() -> None:
    code = (
        "import sys; from udfs.encoders.openvino import _openvino; _openvino()\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "print(telemetry_utils.tm.__name__, sys.modules['openvino_telemetry'])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "None"]
