"""The encoder of real models, compared with plain sentence-transformers."""

import random
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import InputError
from udfs.encoders import hardware, loading, sentence
from udfs.encoders.encoder import Encoder, load_encoder, release_encoders
from udfs.encoders.sentence import SentenceEncoder
from udfs.inference.engine import embed_texts
from udfs.models.source import describe_model, verified_folder
from udfs.specs import InferenceSpec, ModelSpec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

WORDS = [
    "river",
    "stone",
    "quickly",
    "embedding",
    "unbelievable",
    "the",
    "of",
    "and",
    "Straße",
    "naïve",
    "42",
    "x-ray",
    "tokenization",
]
CHOICE = random.Random(7)
TEXTS = [
    "a",
    ".",
    "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 family",
    "日本語の文です。",
    "Žluťoučký kůň",
    "  spaces   and\nnewlines\t",
    "UPPER lower",
    "x" * 300,
    *(" ".join(CHOICE.choices(WORDS, k=length)) for length in (3, 8, 21, 55, 90, 400)),
    "[SEP] [CLS] [MASK]",
]


@pytest.fixture(scope="module")
def model(model_folder: Path) -> ModelSpec:
    return describe_model(str(model_folder))


def spec_of(model: ModelSpec, **options: Any) -> InferenceSpec:
    return InferenceSpec(model=model, **{"device": "cpu", "dtype": "float32", "backend": "torch", **options})


def loaded(model: ModelSpec, **options: Any) -> Encoder:
    return load_encoder(spec_of(model, **options), cores=2)


@pytest.fixture(scope="module")
def vectors(plain: "SentenceTransformer") -> NDArray[np.float32]:
    return encoded(plain, TEXTS)


def encoded(plain: "SentenceTransformer", texts: list[str], **options: Any) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = plain.encode(
        texts, **{"normalize_embeddings": True, "show_progress_bar": False, **options}
    )
    return rows


@pytest.mark.parametrize("budget", [64, 512, 4096])
def test_vectors_match_sentence_transformers(vectors: NDArray[np.float32], model: ModelSpec, budget: int) -> None:
    order = random.Random(budget).sample(range(len(TEXTS)), len(TEXTS))
    found = embed_texts(loaded(model), [TEXTS[i] for i in order], spec_of(model, token_budget=budget))
    assert found.reasons == [None] * len(TEXTS)
    assert np.abs(found.matrix - vectors[order]).max() < 1e-5
    assert np.abs(np.linalg.norm(found.matrix, axis=1) - 1).max() < 1e-6


def test_token_counts_match_the_tokenizer_without_truncation(plain: "SentenceTransformer", model: ModelSpec) -> None:
    expected = [len(ids) for ids in plain.tokenizer(TEXTS, truncation=False, padding=False)["input_ids"]]
    assert max(expected) > 256
    found = embed_texts(loaded(model), TEXTS, spec_of(model, token_budget=512))
    assert found.token_counts.tolist() == expected
    assert found.truncated.tolist() == [count > 256 for count in expected]


def test_truncation_begins_after_the_last_token_that_the_model_sees(
    plain: "SentenceTransformer", model: ModelSpec
) -> None:
    # One token each, and two special ones.
    full, longer, other = (" ".join(["river"] * 254 + tail) for tail in ([], ["stone"], ["water"]))
    found = embed_texts(loaded(model), [full, longer, other], spec_of(model))
    assert found.token_counts.tolist() == [256, 257, 257]
    assert found.truncated.tolist() == [False, True, True]
    assert np.abs(found.matrix[0] - found.matrix[1]).max() < 1e-5
    assert np.abs(found.matrix[1] - found.matrix[2]).max() < 1e-5
    assert np.abs(found.matrix - encoded(plain, [full, longer, other])).max() < 1e-5


def test_fewer_dimensions_are_truncated_and_normalized_again(
    plain: "SentenceTransformer", model_folder: Path, model: ModelSpec
) -> None:
    texts = TEXTS[:10]
    short = describe_model(str(model_folder), dimensions=128)
    assert short == replace(model, dimension=128)
    found = embed_texts(loaded(short), texts, spec_of(short))
    expected = encoded(plain, texts, truncate_dim=128)
    assert found.matrix.shape == (10, 128)
    assert np.abs(found.matrix - expected).max() < 1e-5
    assert np.abs(np.linalg.norm(found.matrix, axis=1) - 1).max() < 1e-6


def test_each_role_puts_its_own_prompt_before_the_texts(plain: "SentenceTransformer", model_folder: Path) -> None:
    asked = describe_model(str(model_folder), document_prompt="passage: ", query_prompt="query: what is ")
    texts = TEXTS[:6]
    for role, prompt in (("document", "passage: "), ("query", "query: what is ")):
        spec = spec_of(asked, role=role)
        found = embed_texts(load_encoder(spec, cores=2), texts, spec)
        assert np.abs(found.matrix - encoded(plain, texts, prompt=prompt)).max() < 1e-5
        counted = plain.tokenizer([prompt + text for text in texts], truncation=False, padding=False)
        assert found.token_counts.tolist() == [len(ids) for ids in counted["input_ids"]]
    assert np.abs(encoded(plain, texts) - encoded(plain, texts, prompt="passage: ")).max() > 1e-3


def test_half_precision_gives_comparable_float32_vectors(model: ModelSpec) -> None:
    texts = TEXTS[:4]
    half = embed_texts(loaded(model, dtype="bfloat16"), texts, spec_of(model, dtype="bfloat16"))
    full = embed_texts(loaded(model), texts, spec_of(model))
    assert half.matrix.dtype == np.float32
    assert np.abs(np.linalg.norm(half.matrix, axis=1) - 1).max() < 1e-6
    assert (half.matrix * full.matrix).sum(axis=1).min() > 0.999
    assert not np.array_equal(half.matrix, full.matrix)


def test_a_model_is_loaded_once_for_equal_descriptions(model: ModelSpec) -> None:
    assert loaded(model) is loaded(model, token_budget=64)
    assert loaded(replace(model)) is loaded(model)
    assert loaded(replace(model, path="the same files elsewhere")) is loaded(model)
    assert loaded(replace(model, precision="int8")) is loaded(model)
    assert loaded(model, role="query") is loaded(model)


def test_other_prompts_and_dimensions_share_the_weights_unless_the_pooling_needs_the_prompt(model: ModelSpec) -> None:
    asked = replace(model, query_prompt="query: ", dimension=64)
    one, other = loaded(model), loaded(asked, role="query")
    assert isinstance(one, SentenceEncoder)
    assert isinstance(other, SentenceEncoder)
    assert one is not other
    assert one._model is other._model
    assert one.forward(one.tokenize(["owl"]).items)().shape == (1, 384)
    pooling: Any = one._model[1]
    pooling.include_prompt = False
    try:
        assert one.twin(spec_of(replace(asked, query_prompt="question: "), role="query")) is None
    finally:
        pooling.include_prompt = True


def test_a_model_is_gone_before_another_is_loaded(model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded(model)
    assert isinstance(first, SentenceEncoder)
    weights, alive = weakref.ref(first._model), []
    original = sentence.load_model
    monkeypatch.setattr(sentence, "load_model", lambda *given: alive.append(weights()) or original(*given))
    del first
    loaded(model, dtype="bfloat16")
    assert alive == [None]


@pytest.fixture
def own_folder(model_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the real model that a test may damage."""
    release_encoders()
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    yield folder
    release_encoders()
    shutil.rmtree(folder)


def zero_weights(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(1_000_000)
        file.write(bytes(80_000_000))


def test_weights_that_are_overwritten_after_loading_neither_reach_the_model_nor_are_loaded_again(
    own_folder: Path,
) -> None:
    seen = describe_model(str(own_folder))
    before = embed_texts(loaded(seen), TEXTS, spec_of(seen)).matrix
    zero_weights(own_folder)
    assert np.array_equal(embed_texts(loaded(seen), TEXTS, spec_of(seen)).matrix, before)
    with pytest.raises(InputError, match="Give every machine the same files"):
        loaded(seen, dtype="bfloat16")


def test_weights_that_change_while_they_are_loaded_are_refused(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = describe_model(str(own_folder))
    original = sentence.load_model

    def damaging(*given: Any) -> "SentenceTransformer":
        zero_weights(own_folder)
        return original(*given)

    monkeypatch.setattr(sentence, "load_model", damaging)
    with pytest.raises(InputError, match="Give every machine the same files"):
        loaded(seen)


def test_a_folder_that_changed_since_the_driver_saw_it_is_refused(own_folder: Path) -> None:
    folder = own_folder
    seen = describe_model(str(folder))
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(InputError, match=r"has digest .*, but the driver saw .*\. Give every machine the same files"):
        loaded(seen)
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(last)
    with verified_folder(seen) as verified:
        assert verified.digest == seen.digest, "a refusal is not remembered"
    folder.joinpath("README.md").write_text("Documentation decides no vector.")
    assert describe_model(str(folder)).digest == seen.digest


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    gone = ModelSpec(path=str(tmp_path / "gone"), digest="0", dimension=4, max_tokens=8)
    with pytest.raises(InputError, match=r"is not on this worker\. Give every machine the same files"):
        load_encoder(spec_of(gone))
    with pytest.raises(InputError, match=r"model \./gone is not on this worker\. Name it by its absolute path"):
        load_encoder(spec_of(replace(gone, path="./gone")))


def test_nothing_in_a_folder_is_run_or_downloaded(model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def recorder(path: str, **options: Any) -> None:
        asked.update(options)
        raise ValueError("not this time")

    monkeypatch.setattr(loading, "SentenceTransformer", recorder)
    with pytest.raises(InputError, match=r"cannot be loaded: ValueError: not this time"):
        sentence.SentenceEncoder(spec_of(model), cores=1)
    assert asked["trust_remote_code"] is False
    assert asked["local_files_only"] is True
    assert asked["model_kwargs"]["use_safetensors"] is True


@pytest.mark.parametrize(
    ("device", "gpus", "partition", "expected"),
    [
        ("auto", 0, 5, "cpu"),
        ("auto", 1, 5, "cuda:0"),
        ("auto", 4, 5, "cuda:1"),
        ("cpu", 4, 5, "cpu"),
        ("cuda", 4, 5, "cuda"),
        ("cuda:3", 0, 5, "cuda:3"),
    ],
)
def test_auto_spreads_partitions_over_the_available_gpus(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, partition: int, expected: str
) -> None:
    import torch

    from udfs.encoders.sentence import choose_device

    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert choose_device(device, partition) == expected


@pytest.mark.parametrize(
    ("dtype", "device", "supported", "stored", "expected"),
    [
        ("float16", "cpu", "amx_tile", "float32", "float16"),
        ("float32", "cuda:0", "", "float16", "float32"),
        ("auto", "cpu", "amx_tile", "float32", "bfloat16"),
        ("auto", "cpu", "avx512_bf16", "float32", "bfloat16"),
        ("auto", "cpu", "", "float16", "float32"),
        ("auto", "cpu", "", "float32", "float32"),
        ("auto", "cuda:0", "", "float32", "bfloat16"),
        ("auto", "cuda:0", "", "bfloat16", "bfloat16"),
        ("auto", "cuda:0", "", "float16", "float16"),
        ("auto", "cuda:1", "amx_tile", "float32", "float16"),
        ("auto", "cuda:1", "", "bfloat16", "float16"),
        ("auto", "cuda", "", "float32", "bfloat16"),
    ],
)
def test_auto_uses_half_precision_where_the_hardware_supports_it(
    monkeypatch: pytest.MonkeyPatch, dtype: str, device: str, supported: str, stored: str, expected: str
) -> None:
    import torch

    from udfs.encoders.sentence import choose_dtype

    # The second GPU is one of the generation that emulates bfloat16; torch then says that it supports it.
    capabilities = {"cuda": (9, 0), "cuda:0": (9, 0), "cuda:1": (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(hardware, "_described", lambda: {"flags": f"fpu {supported} sse"})
    assert choose_dtype(dtype, device, getattr(torch, stored)) == expected
