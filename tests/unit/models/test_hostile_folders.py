"""Hostile and broken model folders are refused, and nothing in them is ever run."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from tests.support.model_folders import (
    BASE,
    CONFIG,
    DENSE,
    DENSE_WEIGHTS,
    INDEX,
    MODEL_CONFIG,
    MODULES,
    OLD,
    POOL,
    POOLING,
    SETTINGS,
    TOKENIZER,
    TRANSFORMER,
    WEIGHTS,
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
from tests.support.paths import ROOT
from udfs.models import files, weights
from udfs.models.folder import inspect_model_folder

# `@` stands for the canary: a path that exists only if something in the folder was run.


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


CODE = {"AutoModel": "evil.Evil"}
KERNEL = "owner/kernel:fn"
EVIL_METHOD = {"text": {"method": "save_pretrained", "method_output_name": "last_hidden_state"}}
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


def test_all_faults_are_reported_at_once(folder: Path) -> None:
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
    if not folder.joinpath(DENSE).exists():
        with_dense()(folder)  # Once: every example restores what it changes.
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
def test_a_path_that_is_not_a_model_folder_is_refused(tmp_path: Path, kind: str) -> None:
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
