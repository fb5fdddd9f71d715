"""Keys in a model's JSON that lead the loader to code, to other repositories or to files elsewhere.

The libraries themselves refuse only some of these, and some only in recent versions. A model folder that is accepted
here contains everything needed to load it, and no key that asks for more.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from udfs.models.files import JsonFiles, shown, stays_inside, within

# The keys in these files are tokens, which may be any string.
_VOCABULARIES = frozenset({"tokenizer.json", "vocab.json", "added_tokens.json"})
_REFUSED_FILES = {
    "adapter_config.json": "an adapter, which takes its base model from elsewhere. Merge it into the weights.",
}
_REFUSED_KEYS = {
    "auto_map": "names code to run",
    "custom_pipelines": "names code to run",
    "trust_remote_code": "asks to run code",
    "code_revision": "names code to run",
    "use_kernels": "asks for compute kernels from a hub",
    "kernel_config": "names compute kernels on a hub",
    "allow_all_kernels": "asks for compute kernels from a hub",
    "use_pretrained_backbone": "fetches another model",
    "use_timm_backbone": "fetches another model",
    "backbone": "names another model",
    "fast_tokenizer_files": "names tokenizers other than the one that is checked",
    "init_inputs": "passes arguments to the tokenizer that are not checked",
    "gguf_file": "names weights that are not safetensors",
    "quantization_config": "asks for quantized weights, which are not read",
}
# These read or fetch data from outside the model folder: an index of passages, a model from another library's hub.
_REFUSED_ARCHITECTURES = frozenset({"rag", "timm_backbone", "timm_wrapper"})
# Implementations that are part of the libraries. Any other name may be a kernel that is fetched from a hub and run.
_IMPLEMENTATIONS = {
    "attn_implementation": frozenset({"eager", "sdpa", "flex_attention"}),
    "experts_implementation": frozenset({"eager", "grouped_mm", "batched_mm"}),
}
_CLASS_KEYS = frozenset({"architectures", "tokenizer_class", "processor_class", "model_type"})
_CLASS_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_OWN_NAME_KEYS = frozenset({"_name_or_path", "name_or_path"})


def check_pointers(json_files: JsonFiles) -> None:
    """Adds a fault for every key that leads outside the model folder, in every JSON file and at any depth."""
    for name, document in json_files.contents.items():
        base = PurePosixPath(name).name
        if base in _REFUSED_FILES:
            json_files.folder.fault(name, _REFUSED_FILES[base])
        if base in _VOCABULARIES:
            continue
        for key, value in _entries(document):
            fault = _key_fault(key, value) or _file_fault(json_files, name, key, value)
            if fault is not None:
                json_files.folder.fault(name, f"key {shown(key)} {fault}. Remove the key.")


def _key_fault(key: str, value: object) -> str | None:
    if not value:
        return None
    if key in _REFUSED_KEYS:
        return f"{_REFUSED_KEYS[key]} ({shown(value)})"
    if key.endswith("name_or_path") and key not in _OWN_NAME_KEYS:
        return f"names another model ({shown(value)})"
    for kind, known in _IMPLEMENTATIONS.items():
        unknown = [text for text in _strings(value) if text not in known] if kind in key else []
        if unknown:
            return f"asks for {shown(unknown[0])}, which can be code from a hub (known: {', '.join(sorted(known))})"
    if key in _CLASS_KEYS:
        return _class_fault(value)
    return None


def _class_fault(value: object) -> str | None:
    for text in _strings(value):
        # Two hyphens separate a repository name from a class in it.
        if not _CLASS_NAME.fullmatch(text) or "--" in text:
            return f"contains {shown(text)}, which is not a plain name"
        if text in _REFUSED_ARCHITECTURES:
            return f"asks for architecture {text}, which reads data from outside the folder"
    return None


def _file_fault(json_files: JsonFiles, name: str, key: str, value: object) -> str | None:
    if key == "transformers_weights" and value:
        known = isinstance(value, str) and stays_inside(value) and value.endswith((".safetensors", ".index.json"))
        if not known or within(str(PurePosixPath(name).parent), str(value)) not in json_files.folder.files:
            return f"names weights that are not a safetensors file in this folder ({shown(value)})"
    in_tokenizer = PurePosixPath(name).name == "tokenizer_config.json"
    if not in_tokenizer or not key.endswith("_file") or not isinstance(value, str) or stays_inside(value):
        return None
    # Older tokenizers recorded the path they were read from; the file in the folder is used instead.
    own_name = {"tokenizer_file": "tokenizer.json", "special_tokens_map_file": "special_tokens_map.json"}.get(key)
    parent = str(PurePosixPath(name).parent)
    own_files = {within(parent, own_name or ""), within(parent, "tokenizer.json")}
    if own_name is not None and own_files & json_files.folder.files.keys():
        return None
    return f"names a file outside the folder ({shown(value)})"


def _entries(document: object) -> Iterator[tuple[str, object]]:
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield from node.items()
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _strings(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
