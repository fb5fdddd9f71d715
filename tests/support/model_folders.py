"""Small model folders, and ways to edit them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from schemas.errors import InputError
from udfs.models.folder import inspect_model_folder

Edit = Callable[[Path], object]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLD, BASE, NEW = (
    "sentence_transformers.models.",
    "sentence_transformers.base.modules.",
    "sentence_transformers.sentence_transformer.modules.",
)
SETTINGS, MODEL_CONFIG = "sentence_bert_config.json", "config_sentence_transformers.json"
WEIGHTS = "model.safetensors"
MODULES, CONFIG, TOKENIZER, POOLING = "modules.json", "config.json", "tokenizer_config.json", "1_Pooling/config.json"
INDEX, DENSE, DENSE_WEIGHTS = "model.safetensors.index.json", "2_Dense/config.json", "2_Dense/model.safetensors"


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


def faults_of(root: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        inspect_model_folder(root)
    return caught.value.faults


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


TRANSFORMER, POOL = entry(OLD + "Transformer", "", "0"), entry(OLD + "Pooling", "1_Pooling", "1")
