"""From a model's name in the settings to the description that travels, and back to a folder on a worker."""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from schemas.errors import InputError
from schemas.precision import OutputPrecision
from udfs.models.folder import ModelFolder, inspect_model_folder
from udfs.models.hub import resolve_model_folder
from udfs.specs import ModelSpec

# What the fake encoder sees of a text.
FAKE_MAX_TOKENS = 256
_FAKE = re.compile(r"fake:([1-9]\d{0,4})")


def is_fake(path: str) -> bool:
    """Tells whether a model name means the deterministic encoder without torch.

    Args:
        path: Value of `model.path`.

    Returns:
        Whether it starts with `fake:`.
    """
    return path.startswith("fake:")


def describe_model(
    path: str,
    revision: str | None = None,
    document_prompt: str | None = None,
    query_prompt: str | None = None,
    dimensions: int | None = None,
    normalize: bool | None = None,
    precision: OutputPrecision = "float32",
) -> ModelSpec:
    """Inspects a model on the driver and describes it for the executors, without loading it.

    Args:
        path: Model folder, hub name or `fake:<dimension>`.
        revision: Full commit id of a hub repository.
        document_prompt: Text put before each chunk; the model's own where None.
        query_prompt: Text put before each query; the model's own where None.
        dimensions: Numbers kept of each vector; all where None.
        normalize: Whether vectors have unit length; as the model does where None.
        precision: How numbers are stored.

    Returns:
        The description.

    Raises:
        InputError: The model cannot be used, or cannot be used like this.
    """
    folder = _fake_folder(path) if is_fake(path) else inspect_model_folder(resolve_model_folder(path, revision))
    faults = []
    if dimensions is not None and dimensions > folder.dimension:
        faults.append(
            f"model.dimensions is {dimensions}, but the model makes {folder.dimension} numbers: ask for fewer"
        )
    if normalize is False and folder.normalized:
        faults.append("model.normalize is false, but the model scales its vectors itself: leave the setting out")
    if precision == "binary" and (dimensions or folder.dimension) % 8:
        faults.append(
            f"model.precision is binary, but {dimensions or folder.dimension} numbers do not fill bytes: set "
            "model.dimensions to a multiple of 8"
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
    )


@lru_cache(maxsize=4)
def verified_folder(model: ModelSpec) -> ModelFolder:
    """Finds a model's folder on this machine and makes sure it is the one the driver saw.

    Args:
        model: Description made by the driver.

    Returns:
        The folder, inspected again here.

    Raises:
        InputError: The folder is missing, may not be loaded, or has other contents.
    """
    folder = inspect_model_folder(resolve_model_folder(model.path, model.revision))
    if folder.digest != model.digest:
        raise InputError(
            f"model {model.path} on this worker has digest {folder.digest[:12]}, the driver saw {model.digest[:12]}: "
            "give every machine the same files"
        )
    return folder


def weight_bytes(model: ModelSpec) -> int:
    """Adds up the sizes of a model's weights.

    Args:
        model: The model.

    Returns:
        Bytes; 0 of a fake one.
    """
    if is_fake(model.path):
        return 0
    folder = Path(resolve_model_folder(model.path, model.revision))
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def _fake_folder(path: str) -> ModelFolder:
    match = _FAKE.fullmatch(path)
    if match is None:
        raise InputError(f"model.path {path}: write fake:<dimension>, such as fake:16")
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
