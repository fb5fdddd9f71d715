"""The modules in a model folder: their classes, files and settings, and the shape of their output."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from udfs.models.files import JsonFiles, shown, stays_inside, within
from udfs.models.transformer import Transformer
from udfs.models.weights import TensorShapes

# Maps a class name to the file that defines it; both the old and the new package of the library export all of them.
_CLASSES = {
    "Transformer": "transformer",
    "Pooling": "pooling",
    "Normalize": "normalize",
    "Dense": "dense",
    "LayerNorm": "layer_norm",
    "Dropout": "dropout",
    "StaticEmbedding": "static_embedding",
    "WeightedLayerPooling": "weighted_layer_pooling",
}
_PACKAGES = ("models", "base.modules", "sentence_transformer.modules")
_TYPES = {
    f"sentence_transformers.{package}{home}.{name}": name
    for name, file in _CLASSES.items()
    for package in _PACKAGES
    for home in ("", f".{file}", f".{name}")
}
_FIRST = frozenset({"Transformer", "StaticEmbedding"})
_NEEDS_CONFIG = frozenset({"Pooling", "Dense", "LayerNorm", "WeightedLayerPooling"})
_NEEDS_WEIGHTS = frozenset({"Dense", "LayerNorm", "WeightedLayerPooling", "StaticEmbedding"})
_ACTIVATION = re.compile(r"torch\.nn\.(modules\.[a-z_]+\.)?[A-Za-z0-9]+", re.ASCII)
STATIC_TENSORS = ("embedding.weight", "embeddings")
_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLING_MODES = tuple(_LEGACY_MODES.values())


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a model: its class name, and its path within the model folder (empty for the folder itself)."""

    kind: str
    folder: str

    @property
    def config_name(self) -> str:
        """Path of its configuration file, relative to the model folder."""
        return within(self.folder, "config.json")


@dataclass(slots=True)
class OutputShape:
    """The output of the modules up to a given point.

    Attributes:
        width: Numbers per token, or per text once pooled; None while unknown.
        pooled: Whether each text has one vector.
        normalized: Whether that vector has unit length.
        pooling: The pooling methods for token vectors, in the order of concatenation.
    """

    width: int | None
    pooled: bool
    normalized: bool = False
    pooling: tuple[str, ...] = ()


def read_modules(json_files: JsonFiles) -> tuple[Module, ...]:
    """Reads the modules in `modules.json`, in order; returns none if the list or one of its entries has a fault."""
    if "modules.json" not in json_files.contents:
        return ()
    entries = json_files.contents["modules.json"]
    if not isinstance(entries, list) or not entries:
        json_files.folder.fault("modules.json", "must contain a list of modules. Fetch it again.")
        return ()
    modules, names = [], set()
    for number, entry in enumerate(entries):
        module, fault = _read_entry(entry)
        if module is not None and entry["name"] in names:
            fault = "repeats the name of an earlier entry, which it would replace. Rename it."
        if fault is not None:
            json_files.folder.fault("modules.json", f"entry {number} {fault}")
        elif module is not None:
            names.add(entry["name"])
            modules.append(module)
    if len(modules) == len(entries):
        _check_order(json_files, modules)
        return tuple(modules)
    # With only the accepted entries, later checks would report faults that do not exist.
    return ()


def check_module(json_files: JsonFiles, module: Module, shapes: dict[str, TensorShapes]) -> None:
    """Checks that a module other than a Transformer has the files and settings needed to load it.

    `shapes` maps file names to tensor names to shapes. Faults are added to the folder.
    """
    files, weights = json_files.folder, within(module.folder, "model.safetensors")
    needed = [module.config_name] if module.kind in _NEEDS_CONFIG else []
    needed += [weights] if module.kind in _NEEDS_WEIGHTS else []
    needed += [within(module.folder, "tokenizer.json")] if module.kind == "StaticEmbedding" else []
    for name in needed:
        if name not in files.present:
            files.fault(name, f"missing, but {module.kind} needs it. Fetch the complete model.")
    if module.kind == "StaticEmbedding" and weights in shapes:
        tables = [shapes[weights][name] for name in STATIC_TENSORS if name in shapes[weights]]
        if not tables or len(tables[0]) != 2:
            files.fault(weights, f"contains no table of embeddings ({' or '.join(STATIC_TENSORS)}). Use another model.")
    if module.kind == "Dense":
        _check_dense(json_files, module, shapes.get(weights))


def read_output_shape(
    json_files: JsonFiles, modules: Sequence[Module], transformer: Transformer | None, shapes: dict[str, TensorShapes]
) -> OutputShape:
    """Follows the vectors through the modules, and rejects a module that does not fit the one before it.

    Args:
        json_files: The folder's JSON files; faults are added to the folder.
        modules: The modules in order.
        transformer: The first module if it is a Transformer.
        shapes: Tensor shapes by file name, then tensor name.

    Returns:
        The output of the last module; meaningless if faults were added.
    """
    if transformer is not None:
        shape = OutputShape(transformer.width, transformer.makes_vector)
    else:
        shape = OutputShape(_static_width(modules[0], shapes), pooled=True)
    for module in modules[1:]:
        config = json_files.object(module.config_name) if module.config_name in json_files.folder.files else {}
        if module.kind in ("Pooling", "WeightedLayerPooling"):
            _pool(json_files, module, config, shape)
        elif module.kind in ("Dense", "LayerNorm"):
            _project(json_files, module, config, shape)
        elif module.kind == "Normalize":
            shape.normalized |= _reads_and_writes(config) == ("sentence_embedding", "sentence_embedding")
    if not shape.pooled:
        json_files.folder.fault("modules.json", "has no module that returns one vector per text. Add a Pooling module.")
    return shape


def _check_dense(json_files: JsonFiles, module: Module, shapes: TensorShapes | None) -> None:
    config = json_files.object(module.config_name)
    activation = config.get("activation_function")
    if activation is not None and not (isinstance(activation, str) and _ACTIVATION.fullmatch(activation)):
        fault = f"names the activation_function {shown(activation)}, which is not in torch.nn. Fix it."
        json_files.folder.fault(module.config_name, fault)
    stated = (config.get("out_features"), config.get("in_features"))
    if config and shapes is not None and shapes.get("linear.weight") != stated:
        fault = (
            f"states {shown(stated[1])} to {shown(stated[0])} features, but linear.weight has another shape. Fix it."
        )
        json_files.folder.fault(module.config_name, fault)


def _read_entry(entry: object) -> tuple[Module | None, str | None]:
    fields = entry if isinstance(entry, dict) else {}
    kind, folder, name = fields.get("type"), fields.get("path"), fields.get("name")
    if not isinstance(kind, str) or not isinstance(folder, str) or not isinstance(name, str):
        return None, "must have type, path and name as strings. Fix it."
    if kind not in _TYPES:
        known = ", ".join(_CLASSES)
        return None, f"has the type {shown(kind)}, which is not supported (supported: {known}). Use another model."
    if not stays_inside(folder):
        return None, f"has the path {shown(folder)}, which is hidden or outside the model folder. Fix it."
    return Module(_TYPES[kind], "" if folder == "." else folder), None


def _check_order(json_files: JsonFiles, modules: list[Module]) -> None:
    kinds = [module.kind for module in modules]
    if kinds[0] not in _FIRST or any(kind in _FIRST for kind in kinds[1:]):
        fault = "must start with its only module that reads text (Transformer or StaticEmbedding). Use another model."
        json_files.folder.fault("modules.json", fault)


def _static_width(module: Module, shapes: dict[str, TensorShapes]) -> int | None:
    tensors = shapes.get(within(module.folder, "model.safetensors"), {})
    table = next((tensors[name] for name in STATIC_TENSORS if name in tensors), ())
    return table[1] if len(table) == 2 else None


def _pool(json_files: JsonFiles, module: Module, config: Mapping[str, object], shape: OutputShape) -> None:
    stated = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    width = _fit(json_files, module, stated, shape.width)
    if module.kind == "WeightedLayerPooling":
        shape.width = width
        return
    modes = _modes(config)
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown or not modes:
        json_files.folder.fault(module.config_name, f"has no known pooling_mode ({shown(unknown)}). Fix it.")
    shape.width = width * len(modes) if width is not None else None
    shape.pooled, shape.normalized, shape.pooling = True, False, modes


def _project(json_files: JsonFiles, module: Module, config: Mapping[str, object], shape: OutputShape) -> None:
    is_dense = module.kind == "Dense"
    expected = "sentence_embedding" if shape.pooled else "token_embeddings"
    if config and (_reads_and_writes(config) if is_dense else ("sentence_embedding",) * 2) != (expected,) * 2:
        json_files.folder.fault(
            module.config_name, f"does not read and write {expected}, which the module before it returns. Fix it."
        )
    _fit(json_files, module, config.get("in_features" if is_dense else "dimension"), shape.width)
    shape.width = _size(config.get("out_features" if is_dense else "dimension"))
    shape.normalized = False
    if config and shape.width is None:
        json_files.folder.fault(module.config_name, "does not state its number of features. Fix it.")


def _fit(json_files: JsonFiles, module: Module, stated: object, width: int | None) -> int | None:
    size = _size(stated)
    if module.config_name in json_files.contents:
        if size is None:
            json_files.folder.fault(module.config_name, f"states no valid input dimension ({shown(stated)}). Fix it.")
        elif width is not None and size != width:
            fault = f"takes {size} numbers, but the module before it returns {width}. Fetch the complete model again."
            json_files.folder.fault(module.config_name, fault)
    return size


def _modes(config: Mapping[str, object]) -> tuple[str, ...]:
    stated = config.get("pooling_mode")
    if stated is None:
        return tuple(mode for key, mode in _LEGACY_MODES.items() if config.get(key)) or ("mean",)
    return (stated,) if isinstance(stated, str) else tuple(map(str, stated)) if isinstance(stated, list) else ()


def _reads_and_writes(config: Mapping[str, object]) -> tuple[object, object]:
    source = config.get("module_input_name", "sentence_embedding")
    target = config.get("module_output_name")
    return source, source if target is None else target


def _size(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None
