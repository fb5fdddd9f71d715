"""Describes a model on the driver from its name, and finds the verified folder on a worker from the description."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import InputError
from schemas.precision import OutputPrecision
from udfs.models.files import collect_files, shown
from udfs.models.folder import ModelFolder, inspect_model_folder
from udfs.models.hub import resolve_model_folder
from udfs.models.registered import RegisteredVersion, is_registered, pin_version, version_folder
from udfs.specs import ModelSpec

# The maximum number of tokens that the fake encoder sees.
FAKE_MAX_TOKENS = 256
# Two writes within the resolution of a file system's clock leave the same times.
_SETTLED_SECONDS = 10
_FAKE = re.compile(r"fake:([1-9]\d{0,4})")


def is_fake(path: str) -> bool:
    """Whether `model.path` names the fake encoder, which is deterministic and needs no torch."""
    return path.startswith("fake:")


def describe_model(
    path: str,
    revision: str | None = None,
    document_prompt: str | None = None,
    query_prompt: str | None = None,
    dimensions: int | None = None,
    normalize: bool | None = None,
    precision: OutputPrecision = "float32",
    cache: str | None = None,
) -> ModelSpec:
    """Inspects a model and describes it for the executors, without loading it.

    Args:
        path: Model folder, hub name, name in MLflow's registry or `fake:<dimension>`.
        revision: Full commit id in the hub repository; None for everything else.
        document_prompt: Text put before each chunk; None for the model's own.
        query_prompt: Text put before each query; None for the model's own.
        dimensions: How many numbers to keep from the start of each vector; None for all.
        normalize: Whether to scale vectors to unit length; None to do what the model itself does.
        precision: The storage format of embeddings.
        cache: Folder in which machines keep models of MLflow's registry; None for one of the machine's user.

    Returns:
        The description.

    Raises:
        InputError: The model cannot be used at all, or not with these arguments.
    """
    version = _pinned(path, revision, cache) if is_registered(path) else None
    path, kept = (version.path, version.folder) if version else (path, None)
    folder = _fake_folder(path) if is_fake(path) else inspect_model_folder(_root(path, revision, kept))
    faults = []
    if dimensions is not None and dimensions > folder.dimension:
        faults.append(
            f"model.dimensions is {dimensions}, but the model's vectors have {folder.dimension} numbers. Ask for fewer."
        )
    if normalize is False and folder.normalized:
        faults.append("model.normalize is false, but the model itself scales its vectors. Remove the setting.")
    if precision == "binary" and (dimensions or folder.dimension) % 8:
        faults.append(
            f"model.precision is binary, but {dimensions or folder.dimension} numbers do not fill bytes. Set "
            "model.dimensions to a multiple of 8."
        )
    if faults:
        raise InputError(faults)
    return ModelSpec(
        path=path,
        revision=revision,
        digest=folder.digest,
        dimension=dimensions or folder.dimension,
        max_tokens=folder.max_tokens,
        document_prompt=folder.document_prompt if document_prompt is None else document_prompt,
        query_prompt=folder.query_prompt if query_prompt is None else query_prompt,
        normalize=folder.normalized if normalize is None else normalize,
        precision=precision,
        folder=kept,
    )


def _pinned(path: str, revision: str | None, cache: str | None) -> RegisteredVersion:
    if revision is not None:
        raise InputError(f"{path} has its version in its name. Remove model.revision.")
    return pin_version(path, cache)


def _root(path: str, revision: str | None, folder: str | None) -> Path:
    return resolve_model_folder(path, revision) if folder is None else version_folder(path, folder)


@contextmanager
def verified_folder(model: ModelSpec) -> Iterator[ModelFolder]:
    """Finds a model's folder on this machine, for a block that loads from it what the driver has described.

    Nothing is remembered: a folder may change between two loads. It may also change while it is being read, so its
    files are looked at again after the block. Their content is read again only where their times or sizes leave a
    doubt, because hashing a large model takes as long as loading it.

    Args:
        model: The driver's description.

    Yields:
        The folder, inspected again on this machine.

    Raises:
        InputError: The folder is missing, has faults, differs from the one on the driver, or changed during the block.
    """
    if model.revision is None and model.folder is None and not os.path.exists(model.path):
        # A worker starts in a folder of its own.
        remedy = "Give every machine the same files" if os.path.isabs(model.path) else "Name it by its absolute path"
        raise InputError(f"model {shown(model.path)} is not on this worker. {remedy}.")
    root = _root(model.path, model.revision, model.folder)
    before = _file_states(root)
    is_settled = all(max(times) < time.time_ns() - _SETTLED_SECONDS * 10**9 for _, *times in before.values())
    folder = _as_described(model, root)
    yield folder
    if not is_settled or _file_states(root) != before:
        _as_described(model, root)


def _file_states(root: Path) -> dict[str, tuple[int, int, int]]:
    try:
        found = {name: path.stat() for name, path in collect_files(root).files.items()}
    except OSError:
        # A file vanished meanwhile; the inspection names it.
        return {}
    return {name: (state.st_size, state.st_mtime_ns, state.st_ctime_ns) for name, state in found.items()}


def _as_described(model: ModelSpec, root: Path) -> ModelFolder:
    folder = inspect_model_folder(root)
    if folder.digest != model.digest:
        raise InputError(
            f"model {model.path} on this worker has digest {folder.digest[:12]}, but the driver saw "
            f"{model.digest[:12]}. Give every machine the same files."
        )
    return folder


def weight_bytes(model: ModelSpec) -> int:
    """Returns the size of a model's weight files in bytes; 0 for a fake model."""
    if is_fake(model.path):
        return 0
    folder = _root(model.path, model.revision, model.folder)
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def _fake_folder(path: str) -> ModelFolder:
    match = _FAKE.fullmatch(path)
    if match is None:
        raise InputError(f"model.path {path} has no valid dimension. Write fake:<dimension>, such as fake:16.")
    return ModelFolder(
        root=path,
        digest=hashlib.sha256(path.encode()).hexdigest(),
        dimension=int(match[1]),
        max_tokens=FAKE_MAX_TOKENS,
        normalized=True,
        document_prompt="",
        query_prompt="",
        modules=("Fake",),
    )
