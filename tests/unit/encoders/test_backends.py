"""Workers of a real model: cold, from a warm cache, and with a cache that cannot be used."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from typing import Any

import numpy as np
import pytest

from schemas.errors import InputError
from tests.support.paths import ROOT
from udfs.encoders import backends, conversion, hardware, openvino
from udfs.encoders.backend_trial import TrialEncoder
from udfs.encoders.backends import entry_key
from udfs.encoders.encoder import load_encoder, release_encoders
from udfs.encoders.light import LightEncoder
from udfs.encoders.model_cache import digest_of, read_choice, write_choice
from udfs.encoders.sentence import SentenceEncoder
from udfs.inference.engine import embed_texts, embed_windows
from udfs.inference.meter import Meter
from udfs.inference.token_budget import token_budget
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec, ModelSpec

if find_spec("openvino") is None:
    pytest.skip("OpenVINO is not installed on every platform", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("converted_once")
TEXTS = ["a", "", "Who hunts at night? \U0001f989", "x y " * 200, "owl " * 30, "[SEP]"]
CORES = 2


@pytest.fixture(scope="module")
def model(model_folder: Path) -> ModelSpec:
    return describe_model(str(model_folder))


@pytest.fixture(scope="module")
def by_torch(model: ModelSpec) -> np.ndarray:
    spec = InferenceSpec(model=model, device="cpu", dtype="float32", backend="torch")
    return embed_texts(load_encoder(spec, CORES), TEXTS, spec).matrix


@pytest.fixture(scope="module")
def filled(model: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the model in float32."""
    cache = tmp_path_factory.mktemp("filled") / "cache"
    release_encoders()
    load_encoder(InferenceSpec(model=model, dtype="float32", backend="openvino", cache=str(cache)), CORES)
    return cache


@pytest.fixture
def spec(model: ModelSpec, filled: Path, tmp_path: Path) -> Iterator[InferenceSpec]:
    """Asks for the faster backend, with a warm cache that a test may damage."""
    release_encoders()
    subprocess.run(["cp", "-a", str(filled), str(tmp_path / "cache")], check=True)
    yield InferenceSpec(model=model, device="cpu", dtype="float32", cache=str(tmp_path / "cache"), token_budget=512)
    release_encoders()


def cache_of(spec: InferenceSpec) -> Path:
    return Path(str(spec.cache))


def remember(spec: InferenceSpec, backend: str, **values: Any) -> None:
    write_choice(cache_of(spec), {**entry_key(spec), "cores": CORES}, {"backend": backend, **values})


def cold(spec: InferenceSpec, tmp_path: Path) -> InferenceSpec:
    return replace(spec, cache=str(tmp_path / "cold"))


def assert_equal(spec: InferenceSpec, by_torch: np.ndarray) -> Any:
    encoder = load_encoder(spec, CORES)
    found = embed_texts(encoder, TEXTS, spec)
    assert found.reasons == [None] * len(TEXTS)
    assert np.abs(found.matrix - by_torch).max() < 1e-5
    return encoder


_WORKER = """
import sys
import numpy as np
import pyarrow as pa
import pyspark.worker
from udfs.embed import embed_arrow
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

folder, cache, backend, out, *texts = sys.argv[1:]
spec = InferenceSpec(model=describe_model(folder), dtype="float32", backend=backend, cache=cache)
batch = pa.record_batch({"text_hash": texts, "text": texts})
(found,) = embed_arrow(spec)(iter([batch]))
print(found.column("meter")[0].as_py())
np.save(out, np.array(found.column("embedding").to_pylist(), np.float32))
heavy = {"torch", "sentence_transformers", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_a_worker_with_a_warm_cache_imports_no_torch(
    spec: InferenceSpec, by_torch: np.ndarray, tmp_path: Path, backend: str
) -> None:
    assert [path.name for path in cache_of(spec).iterdir()] == [digest_of(entry_key(spec))]
    out = tmp_path / "vectors.npy"
    arguments = [spec.model.path, str(spec.cache), backend, str(out), *TEXTS]
    if backend == "auto":
        # A worker outside Spark has one core.
        write_choice(cache_of(spec), {**entry_key(spec), "cores": 1}, {"backend": "openvino", "openvino_rate": 9.0})
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "'backend': 'openvino'" in done.stdout
    assert "'backend_note': None" in done.stdout
    assert np.abs(np.load(out) - by_torch).max() < 1e-5


def test_a_cold_worker_tries_both_on_its_passes_and_remembers_the_faster(
    spec: InferenceSpec, by_torch: np.ndarray, tmp_path: Path
) -> None:
    asked = cold(replace(spec, token_budget=128), tmp_path)
    encoder = load_encoder(asked, CORES)
    assert isinstance(encoder, TrialEncoder)
    assert encoder.is_on_trial
    meter, texts = Meter(), TEXTS[2:3] * 200
    (found,) = embed_windows(encoder, iter([texts]), asked, token_budget(asked, encoder), meter)
    assert np.abs(found.matrix - by_torch[2]).max() < 1e-5
    choice = encoder.choice
    assert not encoder.is_on_trial
    rates = {"torch": choice.torch_rate or 0.0, "openvino": choice.openvino_rate or 0.0}
    assert min(rates.values()) > 0
    assert choice.backend == max(rates, key=lambda name: rates[name])
    # As many tokens as the texts have: nothing was computed for the trial alone.
    assert meter.take()["tokens"] == found.token_counts.sum()

    release_encoders()
    later = load_encoder(asked, CORES)
    assert isinstance(later, LightEncoder if choice.backend == "openvino" else SentenceEncoder)
    assert later.choice == choice
    assert_equal(asked, by_torch)


def test_a_worker_goes_on_with_the_choice_of_an_earlier_one(spec: InferenceSpec, by_torch: np.ndarray) -> None:
    remember(spec, "torch", torch_rate=5.0, openvino_rate=4.0)
    encoder = assert_equal(spec, by_torch)
    assert isinstance(encoder, SentenceEncoder)
    assert (encoder.choice.backend, encoder.choice.torch_rate, encoder.choice.openvino_rate) == ("torch", 5.0, 4.0)
    release_encoders()
    remember(spec, "openvino", torch_rate=4.0, openvino_rate=5.0)
    encoder = assert_equal(spec, by_torch)
    assert isinstance(encoder, LightEncoder)
    assert (encoder.choice.backend, encoder.choice.openvino_rate) == ("openvino", 5.0)


def test_without_a_choice_a_warm_worker_starts_at_once_and_tries_torch_later(
    spec: InferenceSpec, by_torch: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_LATER_SECONDS", 0.001)
    encoder = load_encoder(spec, CORES)
    assert isinstance(encoder, TrialEncoder)
    assert (encoder.choice.backend, encoder.is_on_trial) == ("openvino", False)
    for _ in range(12):
        assert_equal(spec, by_torch)
    assert not encoder.is_on_trial
    assert min(encoder.choice.torch_rate or 0, encoder.choice.openvino_rate or 0) > 0


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_a_damaged_entry_is_refused_named_and_made_anew(
    spec: InferenceSpec, by_torch: np.ndarray, backend: str
) -> None:
    asked = replace(spec, backend=backend)  # type: ignore[arg-type]
    weights = cache_of(spec) / digest_of(entry_key(spec)) / "model.bin"
    content = bytearray(weights.read_bytes())
    content[40_000_000] ^= 1
    weights.write_bytes(content)
    encoder = assert_equal(asked, by_torch)
    note = "the cached model was refused, because model.bin has another digest, and converted anew"
    assert encoder.choice.note == note
    content[40_000_000] ^= 1
    assert weights.read_bytes() == content


@pytest.mark.parametrize("other", [{"dtype": "bfloat16"}, {"version": "0.1"}, {"processor": "other"}, {"prompt": "q "}])
def test_an_entry_serves_only_what_it_was_made_for(
    model: ModelSpec, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    spec = InferenceSpec(model=model, device="cpu", dtype="float32")
    before = digest_of(entry_key(spec))
    if "version" in other:
        monkeypatch.setattr(backends, "version", lambda name: "0.1" if name == "openvino" else "1")
    if "processor" in other:
        monkeypatch.setattr(backends, "processor", lambda: "other")
    if "prompt" in other:
        spec = replace(spec, model=replace(spec.model, query_prompt="q "))
    if "dtype" in other:
        spec = replace(spec, dtype="bfloat16")
    assert digest_of(entry_key(spec)) != before


def test_documents_and_queries_share_an_entry_and_other_prompts_need_their_own(
    spec: InferenceSpec, by_torch: np.ndarray
) -> None:
    query = replace(spec, backend="openvino", model=replace(spec.model, query_prompt="Who hunts "), role="query")
    encoder = load_encoder(query, CORES)
    assert isinstance(encoder, LightEncoder)
    rows = embed_texts(encoder, ["at night? \U0001f989"], query).matrix
    assert np.abs(rows - by_torch[2]).max() < 1e-5
    document = encoder.twin(replace(query, role="document"))
    assert document is not None
    assert np.abs(embed_texts(document, TEXTS, query).matrix - by_torch).max() < 1e-5
    assert encoder.twin(replace(query, model=replace(query.model, query_prompt="other "))) is None


def test_a_model_folder_that_changed_is_refused_with_a_warm_cache_too(spec: InferenceSpec, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    subprocess.run(["cp", "-a", spec.model.path, str(folder)], check=True)
    config = json.loads(folder.joinpath("config.json").read_text())
    folder.joinpath("config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    for backend in ("auto", "openvino"):
        asked = replace(spec, model=replace(spec.model, path=str(folder)), backend=backend)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="Give every machine the same files"):
            load_encoder(asked, CORES)


@pytest.mark.parametrize("backend", ["auto", "openvino"])
@pytest.mark.parametrize("fault", ["unwritable", "open to others", "full", "off"])
def test_a_cache_that_cannot_be_used_stops_nobody(
    spec: InferenceSpec, by_torch: np.ndarray, tmp_path: Path, backend: str, fault: str
) -> None:
    cache = tmp_path / "other"
    cache.mkdir(mode=0o700)
    asked = replace(spec, backend=backend, cache="off" if fault == "off" else str(cache))  # type: ignore[arg-type]
    notes = {"unwritable": "cannot be created", "open to others": "can be written by others", "full": "was not kept"}
    before = getrlimit(RLIMIT_FSIZE)
    if fault == "unwritable":
        cache.joinpath("file").touch()
        asked = replace(asked, cache=str(cache / "file" / "cache"))
    elif fault == "open to others":
        cache.chmod(0o777)
    elif fault == "full":
        setrlimit(RLIMIT_FSIZE, (50_000_000, before[1]))
    try:
        encoder = assert_equal(asked, by_torch)
    finally:
        setrlimit(RLIMIT_FSIZE, before)
    note = encoder.choice.note
    assert note is None if fault == "off" else notes[fault] in note
    assert [path for path in cache.rglob("model*")] == []


def test_where_openvino_is_missing_auto_goes_on_with_torch_and_says_so(
    spec: InferenceSpec, by_torch: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "is_installed", lambda: False)
    encoder = assert_equal(spec, by_torch)
    assert (encoder.choice.backend, encoder.choice.note) == ("torch", "OpenVINO is not installed")


def test_whether_openvino_is_installed_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert openvino.is_installed()
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert not openvino.is_installed()


def test_a_model_whose_vectors_differ_goes_on_with_torch_and_is_not_tried_again(
    spec: InferenceSpec, by_torch: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = cold(spec, tmp_path)
    right = conversion.by_torch
    monkeypatch.setattr(conversion, "by_torch", lambda model, features: right(model, features) + 2e-5)
    encoder = assert_equal(asked, by_torch)
    assert encoder.choice.backend == "torch"
    assert "computes other vectors for this model than torch" in encoder.choice.note
    assert [path.name for path in cache_of(asked).iterdir()] == ["choices"]
    release_encoders()
    monkeypatch.setattr(conversion, "convert_into", None)
    again = assert_equal(asked, by_torch)
    assert again.choice == encoder.choice


def test_openvino_is_not_tried_where_memory_is_short(
    spec: InferenceSpec, by_torch: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "free_memory", lambda: 400_000_000)
    asked = cold(spec, tmp_path)
    encoder = assert_equal(asked, by_torch)
    assert (encoder.choice.backend, encoder.choice.note) == (
        "torch",
        "there is too little free memory to try OpenVINO",
    )
    assert read_choice(cache_of(asked), {**entry_key(asked), "cores": CORES}) is None


def test_on_a_gpu_torch_runs_the_model(spec: InferenceSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_has_gpu_driver", lambda: True)
    assert isinstance(load_encoder(replace(spec, device="auto"), CORES), SentenceEncoder)
