"""Model folders: which are accepted, what is read from them, their digest, and links."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_folders import (
    BASE,
    COMMIT,
    MODEL_CONFIG,
    NEW,
    OLD,
    SETTINGS,
    Edit,
    both,
    change,
    entry,
    faults_of,
    pooled,
    raw,
    set_in,
    tensor_file,
    with_dense,
    without,
    write,
)
from udfs.models.folder import inspect_model_folder

# What is accepted, and what is read from it


def test_reads_a_folder_in_the_old_layout(folder: Path) -> None:
    found = inspect_model_folder(folder)
    assert (found.dimension, found.max_tokens, found.normalized) == (8, 32, True)
    assert found.modules == ("Transformer", "Pooling", "Normalize")
    assert (found.model_type, found.pooling, found.document_prompt, found.query_prompt) == ("bert", ("mean",), "", "")
    assert found.weight_bytes == (folder / "model.safetensors").stat().st_size
    assert found.root == str(folder)


def test_reads_the_real_model(model_folder: Path) -> None:
    found = inspect_model_folder(model_folder)
    assert (found.dimension, found.max_tokens, found.normalized) == (384, 256, True)


def test_root_is_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert inspect_model_folder("model").root == str(folder)


def plain(root: Path) -> None:
    for name in ("modules.json", "1_Pooling/config.json"):
        (root / name).unlink()


def subfolder(root: Path) -> None:
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json", "model.safetensors")
    (root / "0_BERT").mkdir()
    for name in names:
        (root / name).rename(root / "0_BERT" / name)
    write(root / "modules.json", [entry(OLD + "Transformer", "0_BERT"), entry(OLD + "Pooling", "1_Pooling")])


NO_LIMIT = set_in("tokenizer_config.json", model_max_length=10**30)


def normalized_before_dense(root: Path) -> None:
    with_dense()(root)
    modules = json.loads((root / "modules.json").read_bytes())
    write(root / "modules.json", [*modules[:2], entry(OLD + "Normalize", "2_Normalize"), modules[2]])


DOCUMENTS = {"query": "query: ", "document": "passage: "}
OTHER_VOCABULARY = both(raw("vocab.json", {"trust_remote_code": 1}), raw("merges.txt", b""), without("tokenizer.json"))
LEGACY_MODES = {f"pooling_mode_{name}": True for name in ("cls_token", "mean_tokens", "lasttoken")}
UNBOUNDED = both(without(SETTINGS), NO_LIMIT, set_in("config.json", max_position_embeddings=None))

# fmt: off
READS: list[tuple[Edit, dict[str, Any]]] = [
    (plain, {"modules": ("Transformer", "Pooling"), "normalized": False, "max_tokens": 64, "pooling": ("mean",)}),
    (both(plain, set_in("config.json", architectures=["GPT2ForCausalLM"])), {"pooling": ("lasttoken",)}),
    (subfolder, {"dimension": 8, "max_tokens": 32, "normalized": False}),
    (pooled(embedding_dimension=8, pooling_mode="cls"), {"dimension": 8, "pooling": ("cls",)}),
    (pooled(embedding_dimension=8, pooling_mode=["cls", "max"]), {"dimension": 16}),
    (pooled(word_embedding_dimension=8, **LEGACY_MODES), {"dimension": 24, "pooling": ("cls", "mean", "lasttoken")}),
    (pooled(word_embedding_dimension=8), {"dimension": 8, "pooling": ("mean",)}),
    (with_dense(), {"dimension": 4, "normalized": False, "modules": ("Transformer", "Pooling", "Dense")}),
    (with_dense("torch.nn.Identity"), {"dimension": 4}),
    (normalized_before_dense, {"dimension": 4, "normalized": False}),
    (without(SETTINGS), {"max_tokens": 64}),
    (both(without(SETTINGS), set_in("tokenizer_config.json", model_max_length=16)), {"max_tokens": 16}),
    (both(without(SETTINGS), set_in("config.json", max_position_embeddings=-1)), {"max_tokens": 512}),
    (without(SETTINGS, "tokenizer_config.json"), {"max_tokens": 64}),
    (UNBOUNDED, {"max_tokens": None}),
    (both(UNBOUNDED, set_in("config.json", model_type="gpt2", n_positions=24)), {"max_tokens": 24}),
    (both(UNBOUNDED, set_in("config.json", model_type="t5", n_positions=24)), {"max_tokens": None}),
    (set_in(SETTINGS, max_seq_length=None), {"max_tokens": 64}),
    (set_in(SETTINGS, tokenizer_args={"model_max_length": 20}), {"max_tokens": 20}),
    (both(without(SETTINGS), raw("sentence_xlnet_config.json", {"max_seq_length": 9})), {"max_tokens": 9}),
    (set_in(MODEL_CONFIG, prompts=DOCUMENTS), {"document_prompt": "passage: ", "query_prompt": "query: "}),
    (set_in(MODEL_CONFIG, prompts={"passage": "p: "}, default_prompt_name="passage"),
     {"document_prompt": "", "prompts": (("passage", "p: "),)}),
    (set_in(MODEL_CONFIG, prompts={"document": None}), {"document_prompt": ""}),
    (set_in(MODEL_CONFIG, truncate_dim=3), {"dimension": 3, "normalized": False}),
    (set_in(MODEL_CONFIG, truncate_dim=30), {"dimension": 8, "normalized": True}),
    (raw("2_Normalize/config.json", {"module_input_name": "token_embeddings"}), {"normalized": False}),
    (set_in("config.json", _attn_implementation="sdpa", auto_map=None, trust_remote_code=False), {"dimension": 8}),
    (set_in("tokenizer_config.json", special_tokens_map_file="/root/x.json", tokenizer_file=None), {"dimension": 8}),
    (both(raw("vocab.txt", b"a\nb"), without("tokenizer.json")), {"dimension": 8}),
    (both(raw("spiece.model", b"\n\x0e"), without("tokenizer.json")), {"dimension": 8}),
    (OTHER_VOCABULARY, {"dimension": 8}),
    (raw("data_config.json", [{"name": "x/y.jsonl.gz"}]), {"dimension": 8}),
]
# fmt: on


@pytest.mark.parametrize(("edit", "expected"), READS)
def test_reads_what_the_library_would_report(folder: Path, edit: Edit, expected: dict[str, Any]) -> None:
    edit(folder)
    found = inspect_model_folder(folder)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize("kind", ["Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "Dropout"])
@pytest.mark.parametrize("package", [OLD, BASE, NEW])
def test_accepts_the_names_of_old_and_new_releases(folder: Path, kind: str, package: str) -> None:
    with_dense()(folder)
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")]
    extra = {"Normalize": "3_Normalize", "Dropout": "3_Dropout", "LayerNorm": "3_LayerNorm"}
    kinds += [(kind, extra[kind])] if kind in extra else []
    write(folder / "3_LayerNorm/config.json", {"dimension": 4})
    tensor_file(folder / "3_LayerNorm/model.safetensors", **{"norm.weight": (4,), "norm.bias": (4,)})
    write(folder / "modules.json", [entry((package if name == kind else OLD) + name, path) for name, path in kinds])
    assert inspect_model_folder(folder).dimension == 4


def test_reads_a_static_embedding(static: Path) -> None:
    found = inspect_model_folder(static)
    assert (found.dimension, found.max_tokens, found.model_type, found.normalized) == (5, None, None, False)


def test_static_embedding_has_the_limit_of_its_tokenizer(static: Path) -> None:
    change(static / "tokenizer.json", truncation={"max_length": 128, "strategy": "LongestFirst", "stride": 0})
    assert inspect_model_folder(static).max_tokens == 128


def test_reads_a_static_embedding_of_the_other_layout(static: Path) -> None:
    tensor_file(static / "model.safetensors", embeddings=(4, 7), weights=(16,))
    assert inspect_model_folder(static).dimension == 7


# The digest


@pytest.mark.parametrize(
    "name", ["README.md", "1_Pooling/notes.md", "LICENSE", "NOTICE.txt", ".gitignore", ".cache/x.bin"]
)
def test_documentation_changes_no_digest(folder: Path, name: str) -> None:
    before = inspect_model_folder(folder).digest
    write(folder / name, b"edited")
    assert inspect_model_folder(folder).digest == before


@pytest.mark.parametrize("name", ["tokenizer_config.json", "1_Pooling/config.json", "tokenizer.json", "new.json"])
def test_every_file_the_loader_may_read_changes_the_digest(folder: Path, name: str) -> None:
    before = inspect_model_folder(folder).digest
    change(folder / name, comment="edited")
    assert inspect_model_folder(folder).digest != before


def test_weights_change_the_digest(folder: Path) -> None:
    before = inspect_model_folder(folder).digest
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    assert inspect_model_folder(folder).digest != before


# Links


def as_snapshot(folder: Path, cache: Path) -> Path:
    """Lay a folder out as the hub's cache does: links by name to blobs by hash."""
    repository = cache / "models--owner--name"
    snapshot, blobs = repository / "snapshots" / COMMIT, repository / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    return snapshot


def test_a_snapshot_of_the_hub_cache_may_link_to_its_blobs(folder: Path, tmp_path: Path) -> None:
    expected = inspect_model_folder(folder)
    found = inspect_model_folder(as_snapshot(folder, tmp_path / "hub"))
    assert (found.digest, found.dimension) == (expected.digest, expected.dimension)


def test_a_snapshot_may_not_link_to_another_repository(folder: Path, tmp_path: Path) -> None:
    snapshot = as_snapshot(folder, tmp_path / "hub")
    other = write(tmp_path / "hub/models--owner--other/blobs/0", {"model_type": "bert"})
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(other)
    assert [fault for fault in faults_of(snapshot) if "config.json: a link that leaves" in fault]


def test_a_link_within_the_folder_is_followed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    (folder / "model.safetensors").symlink_to("weights.safetensors")
    assert inspect_model_folder(folder).dimension == 8
