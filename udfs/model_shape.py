"""What comes out of a model's modules, one after the other: how many numbers, and of unit length or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from udfs.model_files import shown
from udfs.model_json import JsonFiles, within
from udfs.model_modules import STATIC_TENSORS, Module
from udfs.model_transformer import Transformer
from udfs.model_weights import Shapes

_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLING_MODES = tuple(_LEGACY_MODES.values())


@dataclass(slots=True)
class Shape:
    """What the modules give so far.

    Attributes:
        width: Numbers per token, or per text once pooled; None while unknown.
        pooled: Whether there is one vector per text.
        normalized: Whether that vector has unit length.
        pooling: The ways in which token vectors are pooled, in the order of concatenation.
    """

    width: int | None
    pooled: bool
    normalized: bool = False
    pooling: tuple[str, ...] = ()


def read_shape(
    documents: JsonFiles, modules: Sequence[Module], transformer: Transformer | None, shapes: dict[str, Shapes]
) -> Shape:
    """Follows the vectors through the modules, and refuses a module that does not fit the one before it.

    Args:
        documents: The folder's JSON; faults are added to its files.
        modules: The modules in order.
        transformer: The first module if it is a Transformer.
        shapes: Tensor shapes by tensor and file.

    Returns:
        What the last module gives; meaningless where faults were added.
    """
    if transformer is not None:
        shape = Shape(transformer.width, transformer.makes_vector)
    else:
        shape = Shape(_static_width(modules[0], shapes), pooled=True)
    for module in modules[1:]:
        config = documents.object(module.config_name) if module.config_name in documents.files.files else {}
        if module.kind in ("Pooling", "WeightedLayerPooling"):
            _pool(documents, module, config, shape)
        elif module.kind in ("Dense", "LayerNorm"):
            _project(documents, module, config, shape)
        elif module.kind == "Normalize":
            shape.normalized |= _reads_and_writes(config) == ("sentence_embedding", "sentence_embedding")
    if not shape.pooled:
        documents.files.fault("modules.json", "has no module that makes one vector of a text; add a Pooling module")
    return shape


def _static_width(module: Module, shapes: dict[str, Shapes]) -> int | None:
    tensors = shapes.get(within(module.folder, "model.safetensors"), {})
    table = next((tensors[name] for name in STATIC_TENSORS if name in tensors), ())
    return table[1] if len(table) == 2 else None


def _pool(documents: JsonFiles, module: Module, config: Mapping[str, object], shape: Shape) -> None:
    stated = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    width = _fit(documents, module, stated, shape.width)
    if module.kind == "WeightedLayerPooling":
        shape.width = width
        return
    modes = _modes(config)
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown or not modes:
        documents.files.fault(module.config_name, f"has no known pooling_mode ({shown(unknown)}); mend it")
    shape.width = width * len(modes) if width is not None else None
    shape.pooled, shape.normalized, shape.pooling = True, False, modes


def _project(documents: JsonFiles, module: Module, config: Mapping[str, object], shape: Shape) -> None:
    is_dense = module.kind == "Dense"
    expected = "sentence_embedding" if shape.pooled else "token_embeddings"
    if config and (_reads_and_writes(config) if is_dense else ("sentence_embedding",) * 2) != (expected,) * 2:
        documents.files.fault(
            module.config_name, f"does not read and write {expected}, which is what there is; mend it"
        )
    _fit(documents, module, config.get("in_features" if is_dense else "dimension"), shape.width)
    shape.width = _size(config.get("out_features" if is_dense else "dimension"))
    shape.normalized = False
    if config and shape.width is None:
        documents.files.fault(module.config_name, "states no number of features; mend it")


def _fit(documents: JsonFiles, module: Module, stated: object, width: int | None) -> int | None:
    size = _size(stated)
    if module.config_name in documents.documents:
        if size is None:
            documents.files.fault(module.config_name, f"states no input dimension ({shown(stated)}); mend it")
        elif width is not None and size != width:
            fault = f"takes {size} numbers, but the module before it gives {width}; fetch the whole model again"
            documents.files.fault(module.config_name, fault)
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
