"""Model folders: what is accepted and read from them, what is refused, and that nothing in them is ever run."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from schemas.errors import InputError
from udfs.models import files, weights
from udfs.models.folder import ModelFolder, inspect_model_folder
from udfs.models.hub import resolve_model_folder

OLD, BASE, NEW = (
    "sentence_transformers.models.",
    "sentence_transformers.base.modules.",
    "sentence_transformers.sentence_transformer.modules.",
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[2]

Edit = Callable[[Path], object]


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def change(path: Path, **fields: object) -> None:
    write(path, {**(json.loads(path.read_bytes()) if path.exists() else {}), **fields})


def entry(kind: str, path: str, name: str = "") -> dict[str, object]:
    return {"idx": 0, "name": name or kind, "path": path, "type": kind}


def tensor_file(path: Path, **shapes: tuple[int, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Transformer with Pooling and Normalize, in the layout that most published models have."""
    root = tmp_path / "model"
    write(
        root / "config.json",
        {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 8, "max_position_embeddings": 64},
    )
    write(root / "tokenizer.json", {"version": "1.0", "truncation": None, "model": {"vocab": {"auto_map": 0}}})
    write(
        root / "tokenizer_config.json",
        {"tokenizer_class": "BertTokenizer", "model_max_length": 512, "name_or_path": "owner/name"},
    )
    write(root / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    write(root / "1_Pooling/config.json", {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True})
    write(
        root / "modules.json",
        [
            entry(OLD + "Transformer", "", "0"),
            entry(OLD + "Pooling", "1_Pooling", "1"),
            entry(OLD + "Normalize", "2_Normalize", "2"),
        ],
    )
    tensor_file(root / "model.safetensors", **{"embeddings.weight": (16, 8)})
    write(root / "README.md", b"# A model")
    write(root / ".gitattributes", b"*.safetensors filter=lfs")
    write(root / "LICENSE", b"free")
    return root


@pytest.fixture
def static(tmp_path: Path) -> Path:
    root = tmp_path / "static"
    write(root / "modules.json", [entry(NEW + "static_embedding.StaticEmbedding", "")])
    write(root / "tokenizer.json", {"truncation": None, "model": {}})
    tensor_file(root / "model.safetensors", **{"embedding.weight": (16, 5)})
    return root


@pytest.fixture
def real_model() -> Path:
    path = Path(os.environ.get("TEST_MODEL_FOLDER") or Path(__file__).parents[2] / "models" / "all-MiniLM-L6-v2")
    if not path.is_dir():
        pytest.skip("the test model is not here: set TEST_MODEL_FOLDER to a folder of all-MiniLM-L6-v2")
    return path


def faults_of(root: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        inspect_model_folder(root)
    return caught.value.faults


# What is accepted, and what is read from it


def test_reads_a_folder_in_the_old_layout(folder: Path) -> None:
    found = inspect_model_folder(folder)
    assert (found.dimension, found.max_tokens, found.normalized) == (8, 32, True)
    assert found.modules == ("Transformer", "Pooling", "Normalize")
    assert (found.model_type, found.pooling, found.document_prompt, found.query_prompt) == ("bert", ("mean",), "", "")
    assert found.weight_bytes == (folder / "model.safetensors").stat().st_size
    assert found.root == str(folder)


def test_reads_the_real_model(real_model: Path) -> None:
    found = inspect_model_folder(real_model)
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


def raw(name: str, content: object) -> Edit:
    return lambda root: write(root / name, content)


def pooled(**fields: object) -> Edit:
    return lambda root: write(root / "1_Pooling/config.json", fields)


def set_in(name: str, **fields: object) -> Edit:
    return lambda root: change(root / name, **fields)


def without(*names: str) -> Edit:
    def edit(root: Path) -> None:
        for name in names:
            (root / name).unlink()

    return edit


def both(*edits: Edit) -> Edit:
    return lambda root: [edit(root) for edit in edits]


def with_dense(
    activation: object = "torch.nn.modules.activation.Tanh", shape: tuple[int, ...] = (4, 8), **fields: object
) -> Edit:
    def edit(root: Path) -> None:
        kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")
        write(root / "modules.json", [entry(OLD + kind, path) for kind, path in kinds])
        config = {"in_features": 8, "out_features": 4, "bias": True, "activation_function": activation, **fields}
        write(root / "2_Dense/config.json", config)
        tensor_file(root / "2_Dense/model.safetensors", **{"linear.weight": shape, "linear.bias": (4,)})

    return edit


SETTINGS, MODEL_CONFIG = "sentence_bert_config.json", "config_sentence_transformers.json"
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


# Hostile folders. `@` stands for the canary: a path that exists once anything of the folder was run.


def payload(protocol: int, canary: Path) -> bytes:
    head = b"\x80" + bytes([protocol]) if protocol > 1 else b""
    return head + b"cos\nmkdir\n(S'" + os.fsencode(canary) + b"'\ntR."


def canary_of(root: Path) -> Path:
    return root.parent / "canary"


def pickled(name: str, protocol: int = 2) -> Edit:
    return lambda root: write(root / name, payload(protocol, canary_of(root)))


def script(name: str) -> Edit:
    return lambda root: write(root / name, f"import os; os.mkdir({str(canary_of(root))!r})".encode())


def header(name: str, fields: object, data: bytes = b"", length: int | None = None) -> Edit:
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return raw(name, struct.pack("<Q", len(text) if length is None else length) + text + data)


def tensor(begin: int, end: int, shape: object, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def linked(name: str, target: str) -> Edit:
    def edit(root: Path) -> None:
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)

    return edit


def outside(name: str) -> Edit:
    def edit(root: Path) -> None:
        (root / name).rename(root.parent / Path(name).name)
        (root / name).symlink_to(root.parent / Path(name).name)

    return edit


def bound(name: str) -> Edit:
    def edit(root: Path) -> None:
        here = os.getcwd()
        os.chdir(root)
        try:
            socket.socket(socket.AF_UNIX).bind(name)
        finally:
            os.chdir(here)

    return edit


def typed(kind: str) -> Edit:
    return lambda root: (script("evil.py")(root), write(root / "modules.json", [entry(kind, "")]))


def placed(path: object) -> Edit:
    return lambda root: write(
        root / "modules.json", [entry(OLD + "Transformer", ""), {**entry(OLD + "Pooling", ""), "path": path}]
    )


def indexed(shard: object) -> Edit:
    return both(without("model.safetensors"), raw("model.safetensors.index.json", {"weight_map": {"a": shard}}))


def resized(by: int) -> Edit:
    return lambda root: os.truncate(root / WEIGHTS, (root / WEIGHTS).stat().st_size + by)


WEIGHTS = "model.safetensors"
CODE = {"AutoModel": "evil.Evil"}
KERNEL = "owner/kernel:fn"
EVIL_METHOD = {"text": {"method": "save_pretrained", "method_output_name": "last_hidden_state"}}
MODULES, CONFIG, TOKENIZER, POOLING = "modules.json", "config.json", "tokenizer_config.json", "1_Pooling/config.json"
INDEX, DENSE, DENSE_WEIGHTS = "model.safetensors.index.json", "2_Dense/config.json", "2_Dense/model.safetensors"
TRANSFORMER, POOL = entry(OLD + "Transformer", "", "0"), entry(OLD + "Pooling", "1_Pooling", "1")
Case = tuple[str, Edit]


def each(name: str, make: Callable[[Any], Edit], *values: object) -> list[Case]:
    return [(name, make(value)) for value in values]


def keys(name: str, *pairs: tuple[str, object]) -> list[Case]:
    return [(name, set_in(name, **{key: value})) for key, value in pairs]


# fmt: off
HOSTILE: list[Case] = [
    # Kinds of files that are not read
    *[(name, pickled(name)) for name in (
        "pytorch_model.bin", "model.pt", "model.pth", "x.pkl", "x.pickle", "tf_model.h5", "onnx/model.onnx", "lib.so",
        "rust_model.ot", "flax_model.msgpack", "last.ckpt", "x.npz", "x.npy", "x.zip", "x.joblib", "x.dill", "x.gguf",
        "1_Pooling/pytorch_model.bin", "chat_template.jinja", "LICENSE.bin", "weights", "x.JSON", "x.yaml",
    )],
    *[(name, script(name)) for name in ("evil.py", "1_Pooling/__init__.py", "__pycache__/evil.pyc", "run.sh")],
    *[(name, pickled(name, protocol)) for protocol in (2, 3, 4, 5) for name in (WEIGHTS, "vocab.txt", CONFIG)],
    *[(name, pickled(name, 0)) for name in (WEIGHTS, CONFIG, "tokenizer.json")],
    *[(name, raw(name, b"PK\x03\x04" + b"\xff" * 60)) for name in (WEIGHTS, "vocab.txt", "spiece.model", "README.md")],
    ("pipe.json", lambda root: os.mkfifo(root / "pipe.json")),
    (CONFIG, both(without(CONFIG), lambda root: os.mkfifo(root / CONFIG))),
    ("sock.json", bound("sock.json")),
    # Links and names
    (CONFIG, linked(CONFIG, "/dev/zero")),
    ("vocab.txt", linked("vocab.txt", "/etc/hostname")),
    ("gone.json", linked("gone.json", "nowhere.json")),
    ("loop.json", linked("loop.json", "loop.json")),
    ("2_Dense.json", linked("2_Dense.json", "1_Pooling")),
    *[(name, outside(name)) for name in (CONFIG, WEIGHTS, MODULES, "tokenizer.json")],
    (CONFIG, raw("Config.json", {})),
    ("a\\nb.json", raw("a\nb.json", {})),
    ("\\x1b", raw("\x1b[2Jx.json", {})),
    # Modules
    *each(MODULES, typed, "evil.Evil", "os.mkdir", "Transformer", "sentence_transformers",
          "owner/name--evil.Transformer", OLD + "Evil", OLD + "CLIPModel", OLD + "WordEmbeddings", OLD + "Transformer ",
          BASE + "router.Router",
          "sentence_transformers.evil.Transformer", "sentence_transformers.cross_encoder.modules.Transformer"),
    *each(MODULES, placed, "..", "../x", "/etc", "a/../../b", ".hidden", "C:\\x", "..\\x", "a\0b", None, 1),
    *each(MODULES, lambda content: raw(MODULES, content), {}, [], [1], [{}], "x", None, [POOL], [TRANSFORMER],
          [TRANSFORMER, {**POOL, "name": "0"}], [TRANSFORMER, {**TRANSFORMER, "name": "1"}]),
    *each(INDEX, indexed, "../x.safetensors", "/x.safetensors", "gone.safetensors", "x.bin", ".x.safetensors",
          "tokenizer.json", 1),
    (INDEX, raw(INDEX, {"weight_map": []})),
    # Keys that lead to code, to other models or to other files
    *keys(CONFIG, ("auto_map", CODE), ("text_config", {"deep": [{"auto_map": CODE}]}), ("code_revision", "main"),
          ("custom_pipelines", {"x": {"impl": "evil.Pipeline"}}), ("keypoint_config", {"trust_remote_code": True}),
          ("trust_remote_code", "true"), ("trust_remote_code", 1), ("attn_implementation", "flash_attention_2"),
          ("attn_implementation", KERNEL), ("_attn_implementation", KERNEL), ("_attn_implementation_internal", KERNEL),
          ("experts_implementation", KERNEL), ("_experts_implementation", KERNEL), ("kernel_config", {"x": KERNEL}),
          ("attn_implementation", {"": "sdpa", "text_config": KERNEL}), ("use_kernels", True),
          ("backbone", "owner/name"), ("base_model_name_or_path", "owner/name"),
          ("use_timm_backbone", True), ("quantization_config", {"x": "y"}),
          ("tokenizer_class", "owner/name--evil.Evil"), ("architectures", ["a/b"]), ("model_type", "timm_wrapper"),
          ("model_type", "rag"), ("model_type", 5), ("model_type", None),
          ("transformers_weights", "../x.safetensors"), ("transformers_weights", "pytorch_model.bin"),
          ("transformers_weights", "gone.safetensors"), ("transformers_weights", ["x"])),
    *keys(TOKENIZER, ("auto_map", ["evil.Tokenizer", None]), ("vocab_file", "/etc/passwd"), ("merges_file", "../x.txt"),
          ("fast_tokenizer_files", ["tokenizer.5.0.json"]), ("init_inputs", ["/etc/passwd"])),
    *keys(POOLING, ("auto_map", CODE)),
    (SETTINGS, set_in(SETTINGS, module_output_name="token_embeddings", modality_config=EVIL_METHOD)),
    ("processor_config.json", raw("processor_config.json", {"auto_map": CODE})),
    ("adapter_config.json", raw("adapter_config.json", {"peft_type": "LORA"})),
    *keys(SETTINGS, ("model_args", {"use_safetensors": False}), ("model_kwargs", {"attn_implementation": KERNEL}),
          ("model_args", {"trust_remote_code": True}), ("config_args", {"name": "x"}), ("model_kwargs", 5),
          ("tokenizer_args", {"vocab_file": "x"}), ("tokenizer_name_or_path", "owner/name"), ("unknown", 1),
          ("transformer_task", "text-generation"), ("max_seq_length", 0), ("max_seq_length", "x"),
          ("document_length", 4), ("processing_kwargs", {"text": {"max_length": 4}}),
          ("modality_config", {"image": {}}),
          ("modality_config", {"text": {"method": "save_pretrained", "method_output_name": "x"}})),
    *keys(MODEL_CONFIG, ("model_type", "SparseEncoder"), ("model_type", ["x"]), ("prompts", ["x"]), ("truncate_dim", 0),
          ("prompts", {"document": 5}), ("default_prompt_name", "x"), ("default_prompt_name", ["x"]),
          ("truncate_dim", "x")),
    # Settings of single modules
    *each(DENSE, with_dense, "os.mkdir", "torch.hub.load", "torch.nn.modules.activation.Tanh.x.y", "evil.Evil",
          "torch.nn.utils.rnn.x", ["torch.nn.Tanh"], "torch.nn.modules..x", "torch.nn.Tanh\n"),
    (DENSE, with_dense(shape=(4, 4))),
    (DENSE, with_dense(module_output_name="token_embeddings")),
    (DENSE, both(with_dense(), set_in(DENSE, out_features="4"))),
    (DENSE, both(with_dense(), without(DENSE))),
    (DENSE_WEIGHTS, both(with_dense(), without(DENSE_WEIGHTS))),
    *each(POOLING, lambda config: pooled(**config), {}, {"embedding_dimension": 9}, {"embedding_dimension": -8},
          {"embedding_dimension": True}, {"embedding_dimension": 8, "pooling_mode": "evil"},
          {"embedding_dimension": 8, "pooling_mode": []}, {"embedding_dimension": 8, "pooling_mode": {"a": 1}}),
    # Broken and missing files
    *each(CONFIG, lambda content: raw(CONFIG, content), b"", b"{", b"\xff\xfe", b"[" * 200_000, b'{"a": 1, "a": 2}',
          b"[]", b"5", b"\xef\xbb\xbf{}", b"1" * 5000, b"null"),
    ("generation_config.json", raw("generation_config.json", b'{"a": 1, "a": 2}')),
    *[(name, raw(name, b"[" * 200_000)) for name in ("tokenizer.json", "generation_config.json")],
    *[(name, without(name)) for name in (CONFIG, WEIGHTS, "tokenizer.json", POOLING)],
    # Weights
    *each(WEIGHTS, lambda content: raw(WEIGHTS, content), b"", b"\1\2\3", b"\0" * 8),
    *each(WEIGHTS, lambda fields: header(WEIGHTS, fields), {}, [], b"{not json}", b"[" * 200_000, b"\xff"),
    *each(WEIGHTS, lambda length: header(WEIGHTS, {"a": tensor(0, 4, [1])}, b"1234", length), 2**62, 10**8 + 1, 1),
    *each(WEIGHTS, lambda entries: header(WEIGHTS, entries, b"12345678"),
          {"a": tensor(0, 8, [1])}, {"a": tensor(0, 8, [2], "PICKLE")}, {"a": tensor(0, 8, [2], 4)}, {"a": 1},
          {"a": tensor(0, 8, [-2])}, {"a": tensor(0, 8, [True, 2])}, {"a": tensor(0, 8, "2")}, {"a": tensor(8, 0, [2])},
          {"a": tensor(0, 16, [4])}, {"a": tensor(0, 4, [1])}, {"a": tensor(4, 8, [1])}, {"a": {"dtype": "F32"}},
          {"a": tensor(0, 8, [2]), "b": tensor(4, 8, [1])}, {"a": tensor(0, 4, [1]), "b": tensor(0, 4, [1])},
          {"a": tensor(0, 8, [2.0])}, {"a": tensor(0, 8, [2**40] * 3)}, {"a": tensor(0, 8, [2**62] * 65)}),
    *each(WEIGHTS, resized, -1, 1),
]
# fmt: on


@pytest.mark.parametrize(
    ("name", "edit"), HOSTILE, ids=[f"{number}-{name}" for number, (name, _) in enumerate(HOSTILE)]
)
def test_hostile_folder_is_refused_by_name_and_nothing_runs(folder: Path, name: str, edit: Edit) -> None:
    edit(folder)
    faults = faults_of(folder)
    assert any(name in fault.split(": ", 1)[0] for fault in faults), faults
    assert all(fault.isprintable() for fault in faults)
    assert not canary_of(folder).exists()


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_the_pickles_used_here_would_run(tmp_path: Path, protocol: int) -> None:
    path = write(tmp_path / "x.pkl", payload(protocol, tmp_path / "canary"))
    subprocess.run([sys.executable, "-m", "pickle", str(path)], check=True, capture_output=True)
    assert (tmp_path / "canary").exists()


def static_without_table(root: Path) -> None:
    tensor_file(root / WEIGHTS, other=(2, 2))


@pytest.mark.parametrize("edit", [without("tokenizer.json"), without(WEIGHTS), static_without_table])
def test_incomplete_static_embedding_is_refused(static: Path, edit: Edit) -> None:
    edit(static)
    assert len(faults_of(static)) == 1


def test_all_faults_come_at_once(folder: Path) -> None:
    edits = [
        pickled("pytorch_model.bin"),
        set_in("config.json", auto_map=CODE),
        without(WEIGHTS),
        pooled(embedding_dimension=9),
    ]
    for edit in edits:
        edit(folder)
    assert [Path(fault.split(": ")[0]).relative_to(folder).as_posix() for fault in sorted(faults_of(folder))] == [
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
    ]


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_weights_whose_header_length_looks_like_a_pickle_are_accepted(folder: Path, length: int) -> None:
    text = json.dumps({"a": tensor(0, 4, [1])}).encode().ljust(length)
    write(folder / WEIGHTS, struct.pack("<Q", length) + text + b"1234")
    assert inspect_model_folder(folder).dimension == 8


def test_hostile_template_is_not_evaluated(folder: Path) -> None:
    change(folder / "tokenizer_config.json", chat_template=f"{{{{ ''.__class__.__mro__[1] }}}}{canary_of(folder)}")
    assert inspect_model_folder(folder).dimension == 8
    assert not canary_of(folder).exists()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
READ_KEYS = [
    *[
        (CONFIG, key)
        for key in ("model_type", "architectures", "hidden_size", "text_config", "max_position_embeddings")
    ],
    *[(CONFIG, key) for key in ("attn_implementation", "transformers_weights", "auto_map", "is_causal")],
    *[(TOKENIZER, key) for key in ("model_max_length", "tokenizer_class", "vocab_file")],
    *[(SETTINGS, key) for key in ("max_seq_length", "modality_config", "module_output_name", "tokenizer_args")],
    *[(POOLING, key) for key in ("word_embedding_dimension", "embedding_dimension", "pooling_mode")],
    *[(DENSE, key) for key in ("in_features", "out_features", "activation_function", "module_input_name")],
    *[(MODEL_CONFIG, key) for key in ("prompts", "default_prompt_name", "truncate_dim", "model_type")],
]


@given(place=st.sampled_from(READ_KEYS), value=JSON_VALUES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)
def test_any_value_of_a_setting_is_read_or_refused(folder: Path, place: tuple[str, str], value: object) -> None:
    name, key = place
    with_dense()(folder)
    path = folder / name
    before = path.read_bytes() if path.exists() else b"{}"
    change(path, **{key: value})
    try:
        found = inspect_model_folder(folder)
        assert found.dimension > 0
        assert found.max_tokens is None or found.max_tokens > 0
    except InputError as error:
        assert error.faults
        assert all(fault.isprintable() for fault in error.faults)
    finally:
        path.write_bytes(before)


def test_sizes_are_capped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 20)
    assert any("config.json: larger than 20 bytes" in fault for fault in faults_of(folder))
    assert not any("tokenizer.json" in fault for fault in faults_of(folder))


def test_number_of_entries_is_capped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_ENTRIES", 5)
    assert any("more than 5 entries" in fault for fault in faults_of(folder))


def test_header_is_capped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_HEADER_BYTES", 8)
    assert any(WEIGHTS in fault for fault in faults_of(folder))


@pytest.mark.parametrize("kind", ["absent", "file", "empty"])
def test_what_is_no_model_folder_is_said_to_be_none(tmp_path: Path, kind: str) -> None:
    root = tmp_path / kind
    if kind == "file":
        root.touch()
    elif kind == "empty":
        root.mkdir()
    (fault,) = faults_of(root)
    assert fault.startswith(f"{root}: ")


def test_inspection_imports_none_of_the_heavy_libraries(folder: Path) -> None:
    code = (
        "import sys; from udfs.models.folder import inspect_model_folder; inspect_model_folder(sys.argv[1]);"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'safetensors', 'numpy', 'huggingface_hub'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert ran.stdout.strip() == "[]"


# From a name to a folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A stand-in for the hub's client that records what is asked of it."""
    import huggingface_hub

    calls: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        calls.append({"name": name, **options})
        return "/cache/snapshot"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    yield calls


def test_a_folder_is_taken_as_it_is(folder: Path, hub: list[dict[str, Any]]) -> None:
    assert resolve_model_folder(str(folder), None) == folder
    assert hub == []


def test_a_folder_that_looks_like_a_hub_name_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: list[dict[str, Any]]
) -> None:
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_model_folder("owner/name", None) == Path("owner/name")
    with pytest.raises(InputError, match="has no revision"):
        resolve_model_folder("owner/name", COMMIT)
    assert hub == []


def test_a_hub_name_is_fetched_at_its_commit_and_only_what_is_read(hub: list[dict[str, Any]]) -> None:
    assert resolve_model_folder("owner/name", COMMIT) == Path("/cache/snapshot")
    (call,) = hub
    assert (call["name"], call["revision"]) == ("owner/name", COMMIT)
    assert {Path(pattern).suffix for pattern in call["allow_patterns"]} == {
        ".safetensors",
        ".json",
        ".txt",
        ".model",
        ".vocab",
    }


@pytest.mark.parametrize(
    "revision", [None, "", "main", "v1.0", COMMIT[:7], COMMIT.upper(), COMMIT + "\n", COMMIT + "0"]
)
def test_a_hub_name_needs_a_full_commit_id(revision: str | None, hub: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="not a full commit id"):
        resolve_model_folder("owner/name", revision)
    assert hub == []


@pytest.mark.parametrize(
    "path", ["", "name", "./a/b", "../b", "/no/such", "~/model", "a/b/c", "a b/c", "a/b\n", ".a/b", "s3://a/b"]
)
def test_what_is_neither_is_said_to_be_neither(path: str, hub: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="is neither a folder nor a hub name"):
        resolve_model_folder(path, COMMIT)
    assert hub == []


def failing(error: Exception) -> Callable[..., str]:
    def snapshot_download(name: str, **options: Any) -> str:
        raise error

    return snapshot_download


def test_every_failure_of_the_hub_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    causes: list[tuple[type[Exception], str]] = [
        (errors.RevisionNotFoundError, "has no commit"),
        (errors.RepositoryNotFoundError, "HF_TOKEN"),
        (errors.GatedRepoError, "HF_TOKEN"),
        (errors.LocalEntryNotFoundError, "HF_HUB_OFFLINE"),
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE"),
        (errors.HFValidationError, "could not be fetched"),
        (ConnectionError, "Check network"),
        (OSError, "Check network"),
        (RuntimeError, "Check network"),
    ]
    for cause, words in causes:
        error = cause.__new__(cause, "secret\nlines")
        monkeypatch.setattr(huggingface_hub, "snapshot_download", failing(error))
        with pytest.raises(InputError, match=words) as caught:
            resolve_model_folder("owner/name", COMMIT)
        assert "\n" not in str(caught.value)


def test_offline_without_a_cache_is_an_input_error(tmp_path: Path) -> None:
    code = (
        "from udfs.models.hub import resolve_model_folder; from schemas.errors import InputError\n"
        "try:\n    resolve_model_folder('owner/name', 'a' * 40)\nexcept InputError as error:\n    print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    assert "HF_HUB_OFFLINE is set" in ran.stdout


# Agreement with the library itself


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "passage", "query", ":", "a", "b", "c"]
    write(root / "vocab.txt", "\n".join(words).encode())
    transformers.BertTokenizer(vocab=str(root / "vocab.txt"), model_max_length=48).save_pretrained(root)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
    )
    transformers.BertModel(config).save_pretrained(root)
    return root


def assert_agrees(root: Path, modules: tuple[str, ...]) -> ModelFolder:
    from sentence_transformers import SentenceTransformer

    found = inspect_model_folder(root)
    model = SentenceTransformer(str(root), device="cpu")
    limit = model.max_seq_length
    assert found.dimension == model.get_embedding_dimension() == len(model.encode("a b c"))
    assert found.max_tokens == (limit if limit is not None and limit < 2**31 else None)
    assert found.document_prompt == model.prompts["document"]
    assert found.query_prompt == model.prompts["query"]
    assert np.array_equal(model.encode_document("a b"), model.encode(found.document_prompt + "a b"))
    assert np.array_equal(model.encode_query("a b"), model.encode(found.query_prompt + "a b"))
    assert found.modules == tuple(type(module).__name__ for module in model) == modules
    assert found.normalized == bool(
        np.isclose(np.linalg.norm(model.encode(["a", "b", "c a"]), axis=1), 1, atol=1e-5).all()
    )
    return found


@pytest.mark.parametrize("prompts", [None, {"query": "query: ", "document": "passage: "}], ids=["none", "both"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("modes", ["mean", ("cls", "max")], ids=str)
def test_agrees_on_a_pooled_transformer(bert: Path, tmp_path: Path, modes: Any, normalize: bool, prompts: Any) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    parts = [Transformer(str(bert)), Pooling(8, modes)]
    parts += [Dense(8 if modes == "mean" else 16, 6), Normalize()] if normalize else []
    SentenceTransformer(modules=parts, prompts=prompts, device="cpu").save_pretrained(
        str(tmp_path / "m"), create_model_card=False
    )
    names = ("Transformer", "Pooling", "Dense", "Normalize")
    found = assert_agrees(tmp_path / "m", names if normalize else names[:2])
    assert (found.max_tokens, found.document_prompt) == (40, prompts["document"] if prompts else "")


@pytest.mark.parametrize("changes", [
    {MODEL_CONFIG: {"prompts": {"query": "query: ", "passage": "passage: "}}},
    {MODEL_CONFIG: {"prompts": {"passage": "passage: "}}},
    {MODEL_CONFIG: {"truncate_dim": 5}},
    {SETTINGS: {"max_seq_length": 16}},
    {SETTINGS: {"max_seq_length": 16, "tokenizer_args": {"model_max_length": 12}}},
    {"tokenizer_config.json": {"model_max_length": 10**30}},
    {"tokenizer_config.json": {"model_max_length": None}},
], ids=str)  # fmt: skip
def test_agrees_on_changed_settings(bert: Path, tmp_path: Path, changes: dict[str, dict[str, Any]]) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    parts = [Transformer(str(bert)), Pooling(8), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(str(tmp_path / "m"), create_model_card=False)
    for name, fields in changes.items():
        change(tmp_path / "m" / name, **fields)
    assert_agrees(tmp_path / "m", ("Transformer", "Pooling", "Normalize"))


def test_agrees_on_a_plain_transformer(bert: Path) -> None:
    assert assert_agrees(bert, ("Transformer", "Pooling")).pooling == ("mean",)


@pytest.mark.parametrize("prompts", [None, {"query": "query: ", "document": "passage: "}], ids=["none", "both"])
def test_agrees_on_a_static_embedding(bert: Path, tmp_path: Path, prompts: Any) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(bert / "tokenizer.json"))
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=6)], prompts=prompts, device="cpu")
    model.save_pretrained(str(tmp_path / "m"), create_model_card=False)
    assert assert_agrees(tmp_path / "m", ("StaticEmbedding",)).max_tokens is None


def test_agrees_on_the_real_model(real_model: Path) -> None:
    assert_agrees(real_model, ("Transformer", "Pooling", "Normalize"))
