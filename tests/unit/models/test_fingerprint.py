"""What changes a digest or a fingerprint, and what must not."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.models.fingerprint import chunking_fingerprint, folder_digest, model_fingerprint
from udfs.specs import ChunkSpec, ModelSpec

MODEL = ModelSpec(path="/models/a", digest="d" * 64, dimension=384, max_tokens=256, document_prompt="passage: ")
CHUNKS = ChunkSpec(method="structure", max_tokens=256, min_tokens=64, rules=1)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "a.json").write_bytes(b"{}")
    (tmp_path / "b.txt").write_bytes(b"words")
    return {"a.json": tmp_path / "a.json", "1_Pooling/b.txt": tmp_path / "b.txt"}


def test_digest_is_the_documented_canonical_form(files: dict[str, Path]) -> None:
    words, braces = hashlib.sha256(b"words").hexdigest(), hashlib.sha256(b"{}").hexdigest()
    canonical = f'[["1_Pooling/b.txt","{words}"],["a.json","{braces}"]]'
    assert folder_digest(files) == hashlib.sha256(canonical.encode()).hexdigest()


def test_digest_does_not_depend_on_the_order_of_the_files(files: dict[str, Path]) -> None:
    assert folder_digest(files) == folder_digest(dict(reversed(files.items())))


def test_digest_follows_names_and_contents(files: dict[str, Path]) -> None:
    renamed = {"b.json": files["a.json"], "1_Pooling/b.txt": files["1_Pooling/b.txt"]}
    swapped = {"a.json": files["1_Pooling/b.txt"], "1_Pooling/b.txt": files["a.json"]}
    fewer = {"a.json": files["a.json"]}
    assert len({folder_digest(each) for each in (files, renamed, swapped, fewer, {})}) == 5


def test_digest_reads_large_files_in_pieces(tmp_path: Path) -> None:
    large = tmp_path / "large.safetensors"
    large.write_bytes(b"\0" * 3_000_000)
    before = folder_digest({"large.safetensors": large})
    large.write_bytes(b"\0" * 2_999_999 + b"\1")
    assert folder_digest({"large.safetensors": large}) != before


def test_model_fingerprint_is_stable() -> None:
    assert model_fingerprint(MODEL) == "e0caf38347a8e59701ec7b7f98726af6e13b16c5f51a8066f4e02f5e4a3495b7"
    assert chunking_fingerprint(CHUNKS, MODEL) == "2beabe80b4e0b2fcb1b603dcb5c7db38b935c95104d5ae2dd6ee849754ea9900"


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "e" * 64},
        {"dimension": 256},
        {"max_tokens": 128},
        {"max_tokens": None},
        {"document_prompt": ""},
        {"document_prompt": "passage:"},
        {"normalize": False},
    ],
    ids=str,
)
def test_model_fingerprint_follows_what_decides_a_vector(change: dict[str, Any]) -> None:
    assert model_fingerprint(dataclasses.replace(MODEL, **change)) != model_fingerprint(MODEL)


@pytest.mark.parametrize("change", [{"path": "owner/name", "revision": "a" * 40}, {"query_prompt": "query: "}], ids=str)
def test_model_fingerprint_ignores_what_does_not_affect_vectors(change: dict[str, Any]) -> None:
    assert model_fingerprint(dataclasses.replace(MODEL, **change)) == model_fingerprint(MODEL)


@pytest.mark.parametrize("change", [{"method": "none"}, {"max_tokens": 255}, {"min_tokens": 63}, {"rules": 2}], ids=str)
def test_chunking_fingerprint_follows_the_rule(change: dict[str, Any]) -> None:
    assert chunking_fingerprint(dataclasses.replace(CHUNKS, **change), MODEL) != chunking_fingerprint(CHUNKS, MODEL)


@pytest.mark.parametrize("change", [{"digest": "e" * 64}, {"max_tokens": 128}, {"document_prompt": ""}], ids=str)
def test_chunking_fingerprint_follows_what_counts_tokens(change: dict[str, Any]) -> None:
    assert chunking_fingerprint(CHUNKS, dataclasses.replace(MODEL, **change)) != chunking_fingerprint(CHUNKS, MODEL)


@pytest.mark.parametrize("change", [{"dimension": 128}, {"normalize": False}, {"query_prompt": "q"}], ids=str)
def test_chunking_fingerprint_ignores_what_does_not_affect_cuts(change: dict[str, Any]) -> None:
    assert chunking_fingerprint(CHUNKS, dataclasses.replace(MODEL, **change)) == chunking_fingerprint(CHUNKS, MODEL)


def test_a_document_that_is_not_cut_is_the_same_by_all_rules() -> None:
    whole = [ChunkSpec(method="none", max_tokens=256, min_tokens=64, rules=rules) for rules in (1, 2)]
    assert chunking_fingerprint(whole[0], MODEL) == chunking_fingerprint(whole[1], MODEL)


@given(first=st.text(), second=st.text())
def test_prompts_never_share_a_fingerprint(first: str, second: str) -> None:
    fingerprints = {model_fingerprint(dataclasses.replace(MODEL, document_prompt=text)) for text in (first, second)}
    assert len(fingerprints) == len({first, second})
