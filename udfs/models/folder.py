"""The inspection of a model folder before any library loads it.

The libraries that load a model also run what the model refers to: code, pickles, kernels from a hub. So the folder is
inspected first, in plain Python, and is not loaded if it has any fault.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import InputError
from udfs.models.files import FolderFiles, JsonFiles, collect_files, parse_json, shown, within
from udfs.models.fingerprint import folder_digest
from udfs.models.modules import Module, OutputShape, check_module, read_modules, read_output_shape
from udfs.models.pointers import check_pointers
from udfs.models.transformer import Transformer, read_transformer
from udfs.models.weights import check_indexes, read_tensor_shapes

_MODEL_CONFIG = "config_sentence_transformers.json"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder that contains a complete model and nothing that could be run.

    Attributes:
        root: The absolute path of the folder, so that loading it never asks a hub for absent files.
        digest: SHA-256 (hex) over every file that the loader may read.
        dimension: Length of a vector.
        max_tokens: Longest input the model sees, including special tokens and prompt; None if it has no limit.
        normalized: Whether the model itself returns vectors of unit length.
        document_prompt: Text that the model expects before each document; empty for none.
        query_prompt: Text that the model expects before each query; empty for none.
        modules: Class names of the modules, in the order in which they run.
        model_type: Architecture of the Transformer, such as `bert`; None for a StaticEmbedding.
        pooling: How token vectors become one, in the order of concatenation; empty if the first module does this.
        prompts: Every prompt that the folder defines, used or not, as pairs of name and text.
        weight_bytes: Size of all safetensors files, in bytes.
        tokenizer_folder: Folder of the first module's tokenizer, relative to the model folder.
    """

    root: str
    digest: str
    dimension: int
    max_tokens: int | None
    normalized: bool
    document_prompt: str
    query_prompt: str
    modules: tuple[str, ...]
    model_type: str | None = None
    pooling: tuple[str, ...] = ()
    prompts: tuple[tuple[str, str], ...] = ()
    weight_bytes: int = 0
    tokenizer_folder: str = ""


def inspect_model_folder(root: str | os.PathLike[str]) -> ModelFolder:
    """Inspects a model folder without loading it.

    This does not import torch, transformers or sentence-transformers, and runs nothing from the folder. The result
    agrees with what sentence-transformers reports about the loaded model.

    Args:
        root: The model folder. Links may leave it only if it is a snapshot in the hub's cache, and only to the cache
            of the same repository.

    Returns:
        The description of the model.

    Raises:
        InputError: The folder has faults; the message lists all of them.
    """
    files = collect_files(root)
    if not files.files:
        if not files.faults:
            files.fault("", "contains no model. Name a folder with config.json or modules.json.")
        raise InputError(files.faults)
    json_files, shapes = parse_json(files), read_tensor_shapes(files)
    check_pointers(json_files)
    check_indexes(json_files)
    has_list = "modules.json" in files.present
    modules = read_modules(json_files) if has_list else (Module("Transformer", ""), Module("Pooling", ""))
    settings = _read_model_config(json_files) if has_list else {}
    if not modules:
        raise InputError(files.faults)
    transformer = None
    if modules[0].kind == "Transformer":
        transformer = read_transformer(json_files, modules[0].folder, has_settings=has_list)
    for module in modules if has_list else ():
        check_module(json_files, module, shapes)
    shape = read_output_shape(json_files, modules, transformer, shapes) if has_list else _plain_shape(transformer)
    return _describe(files, json_files, modules, transformer, shape, settings)


def _plain_shape(transformer: Transformer | None) -> OutputShape:
    if transformer is None:
        return OutputShape(None, pooled=True)
    return OutputShape(transformer.width, pooled=True, pooling=("lasttoken",) if transformer.is_causal else ("mean",))


def _describe(
    files: FolderFiles,
    json_files: JsonFiles,
    modules: tuple[Module, ...],
    transformer: Transformer | None,
    shape: OutputShape,
    settings: Mapping[str, object],
) -> ModelFolder:
    max_tokens = transformer.max_tokens if transformer is not None else _static_limit(json_files, modules[0])
    kept = settings.get("truncate_dim")
    dimension = shape.width
    if dimension is None and not files.faults:
        files.fault("config.json", "does not state how many numbers a vector has. Use another model.")
    elif dimension is not None and type(kept) is int and kept < dimension:
        dimension, shape.normalized = kept, False
    if files.faults or dimension is None:
        raise InputError(files.faults)
    prompts = _prompts(settings)
    return ModelFolder(
        root=str(files.root),
        digest=_digest(files),
        dimension=dimension,
        max_tokens=max_tokens,
        normalized=shape.normalized,
        # In sentence-transformers 6, `encode_document` and `encode_query` always find a prompt with their own name; it
        # is empty if the folder has none. So they never use `passage`, `corpus` or `default_prompt_name`.
        document_prompt=prompts.get("document", ""),
        query_prompt=prompts.get("query", ""),
        modules=tuple(module.kind for module in modules),
        model_type=transformer.model_type if transformer is not None else None,
        pooling=shape.pooling,
        prompts=tuple(sorted(prompts.items())),
        weight_bytes=sum(path.stat().st_size for path in files.files.values() if path.suffix == ".safetensors"),
        tokenizer_folder=modules[0].folder,
    )


def _digest(files: FolderFiles) -> str:
    try:
        return folder_digest(files.files)
    except OSError as error:
        raise InputError(f"{shown(error.filename)}: cannot be read ({error.strerror}). Fix it.") from error


def _read_model_config(json_files: JsonFiles) -> Mapping[str, object]:
    settings, files = json_files.object(_MODEL_CONFIG), json_files.folder
    kind = settings.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        files.fault(_MODEL_CONFIG, f"describes a {shown(kind)}, which returns no dense vectors. Use another model.")
    prompts = settings.get("prompts", {})
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        files.fault(_MODEL_CONFIG, "prompts must be an object with text values. Fix it.")
    default = settings.get("default_prompt_name")
    if default is not None and default not in ["query", "document", *(prompts if isinstance(prompts, dict) else ())]:
        files.fault(_MODEL_CONFIG, f"default_prompt_name {shown(default)} is not one of the prompts. Fix it.")
    kept = settings.get("truncate_dim")
    if kept is not None and (type(kept) is not int or kept < 1):
        files.fault(_MODEL_CONFIG, f"truncate_dim is {shown(kept)}, but must be a positive integer. Fix it.")
    return settings


def _prompts(settings: Mapping[str, object]) -> dict[str, str]:
    prompts = settings.get("prompts", {})
    return {name: text or "" for name, text in prompts.items()} if isinstance(prompts, dict) else {}


def _static_limit(json_files: JsonFiles, module: Module) -> int | None:
    truncation = json_files.object(within(module.folder, "tokenizer.json")).get("truncation")
    limit = truncation.get("max_length") if isinstance(truncation, dict) else None
    return limit if type(limit) is int and limit > 0 else None
