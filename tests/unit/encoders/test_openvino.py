"""The model run by OpenVINO gives torch's vectors and sends no telemetry."""

import os
import sys
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from schemas.errors import InputError
from udfs.encoders import conversion
from udfs.encoders.encoder import load_encoder, release_encoders
from udfs.encoders.light import LightEncoder
from udfs.encoders.openvino import import_openvino
from udfs.inference.engine import embed_texts
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec, Precision

# Looked for and not imported: the first import decides whether conversions are reported.
if find_spec("openvino") is None:
    pytest.skip("OpenVINO is an optional dependency", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("converted_once")
TEXTS = ["a", "", "Who hunts at night? \U0001f989", "x y " * 200, "owl " * 30, "[SEP]"]


@pytest.fixture(scope="module")
def spec(model_folder: Path) -> InferenceSpec:
    model = describe_model(str(model_folder), document_prompt="passage: ")
    return InferenceSpec(model=model, device="cpu", dtype="float32", backend="torch", cache="off", token_budget=512)


@pytest.fixture(scope="module")
def by_torch(spec: InferenceSpec) -> np.ndarray:
    return embed_texts(load_encoder(spec, cores=2), TEXTS, spec).matrix


@pytest.mark.parametrize("is_light", [True, False])
def test_vectors_match_torch(
    spec: InferenceSpec, by_torch: np.ndarray, is_light: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the model's own library as well as without it."""
    release_encoders()
    if not is_light:
        monkeypatch.setattr(conversion, "light_inputs", lambda *_: None)
    other = replace(spec, backend="openvino")
    encoder = load_encoder(other, cores=2)
    assert isinstance(encoder, LightEncoder) is is_light
    assert (encoder.choice.backend, encoder.choice.note) == ("openvino", None)
    for texts in (TEXTS, TEXTS[::-1], TEXTS[:1]):
        found = embed_texts(encoder, texts, other)
        assert found.reasons == [None] * len(texts)
        expected = by_torch[[TEXTS.index(text) for text in texts]]
        assert np.abs(found.matrix - expected).max() < 1e-5


def test_vectors_are_cut_and_scaled_as_torch_does(spec: InferenceSpec) -> None:
    model = replace(spec.model, dimension=5, normalize=False)
    for each in (replace(spec, model=model), replace(spec, model=replace(model, normalize=True))):
        expected = embed_texts(load_encoder(each, cores=2), TEXTS, each).matrix
        other = replace(each, backend="openvino")
        found = embed_texts(load_encoder(other, cores=2), TEXTS, other).matrix
        assert found.shape == (len(TEXTS), 5)
        assert np.abs(found - expected).max() < 1e-5


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


def test_half_precision_that_points_elsewhere_is_refused(spec: InferenceSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, raw = LightEncoder.raw, {"bfloat16": -1.0, "float32": 1.0}
    monkeypatch.setattr(LightEncoder, "raw", lambda self, items: exact(self, items) * raw[self.dtype])
    release_encoders()
    half = replace(spec, backend="openvino", dtype="bfloat16")
    with pytest.raises(InputError, match=r"half precision \(cosine -1.0000, at least 0.999 is needed\)"):
        load_encoder(half, cores=2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_text_embedded_alone_is_exact_while_passes_run(
    spec: InferenceSpec, by_torch: np.ndarray, dtype: Precision
) -> None:
    """The collecting thread asks for it while the other thread runs the model."""
    asked = replace(spec, backend="openvino", dtype=dtype)
    encoder = load_encoder(asked, cores=1)
    items = encoder.tokenize(TEXTS).items
    passes = Thread(target=lambda: [encoder.forward(items * 2) for _ in range(4)])
    passes.start()
    found = [encoder.exact(item) for item in items]
    passes.join()
    assert np.abs(np.concatenate(found) - by_torch).max() < 1e-5


def test_a_model_whose_vectors_differ_from_torch_is_refused(
    spec: InferenceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = conversion.by_torch
    monkeypatch.setattr(conversion, "by_torch", lambda model, features: right(model, features) + 2e-5)
    asked = replace(spec, backend="openvino")
    release_encoders()
    with pytest.raises(InputError, match=r"other vectors for this model than torch \(difference 2.*Set it to torch"):
        load_encoder(asked, cores=2)


def test_a_missing_openvino_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install 'embedlake\[openvino\]'"):
        import_openvino()


def test_conversions_send_no_telemetry() -> None:
    import_openvino()
    from openvino.tools.ovc import telemetry_utils

    assert sys.modules["openvino_telemetry"] is None
    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
