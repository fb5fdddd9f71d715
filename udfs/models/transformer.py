"""The Transformer module in a model folder: its weights, tokenizer, settings and longest input.

File names and their order follow sentence-transformers 6.2 and the files written by older releases.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from udfs.models.files import FolderFiles, JsonFiles, shown, within

SETTINGS_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_SETTINGS = frozenset(
    {"transformer_task", "modality_config", "module_output_name", "processing_kwargs", "unpad_inputs", "query_length"}
    | {"document_length", "query_expansion", "max_seq_length", "do_lower_case"}
)
_ARGUMENT_SETTINGS = {
    "model_args": "model_kwargs",
    "tokenizer_args": "processor_kwargs",
    "config_args": "config_kwargs",
}
# Arguments of the loaders that choose among the contents of the folder; any other argument could replace the contents.
_ARGUMENTS = frozenset(
    {
        "add_pooling_layer",
        "attn_implementation",
        "clean_up_tokenization_spaces",
        "do_lower_case",
        "dtype",
        "torch_dtype",
    }
    | {"experts_implementation", "is_causal", "is_decoder", "model_max_length", "output_hidden_states", "padding_side"}
    | {"truncation_side", "trust_remote_code", "use_bidirectional_attention", "use_cache", "use_fast"}
)
_TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_WIDTH_KEYS = ("hidden_size", "d_model", "n_embd", "dim", "emb_dim")
# These architectures use a different name for their position limit; in all others `n_positions` is not a limit.
_POSITIONS = dict.fromkeys(("gpt2", "gptj", "codegen", "openai-gpt", "ctrl", "gpt_bigcode"), "n_positions")
# Tokenizers without a limit say 10**30, or in some cases 2**63 - 1.
_UNLIMITED = 2**31
_TEXT_METHOD = re.compile(r"forward|get_text_features")


@dataclass(frozen=True, slots=True)
class Transformer:
    """A Transformer module, as far as it is known without loading it.

    Attributes:
        model_type: The architecture's name in `config.json`.
        width: Numbers per token, or per text if the module pools; None if the configuration does not say.
        max_tokens: Longest input, including special tokens; None if there is no limit.
        makes_vector: Whether it returns one vector per text, so that no pooling is needed.
        is_causal: Whether it is a generative model. This decides the pooling if the folder does not say.
    """

    model_type: str
    width: int | None
    max_tokens: int | None
    makes_vector: bool
    is_causal: bool


def read_transformer(json_files: JsonFiles, folder: str, has_settings: bool = True) -> Transformer:
    """Checks a Transformer module and reads the settings that affect its output.

    Args:
        json_files: The folder's JSON files; faults are added to the folder.
        folder: The module's path within the model folder.
        has_settings: Whether to use the module's settings file. sentence-transformers reads it only if the model folder
            has a `modules.json`.

    Returns:
        The module; meaningless if faults were added.
    """
    files, config_name = json_files.folder, within(folder, "config.json")
    _check_complete(files, folder)
    config = json_files.object(config_name)
    model_type = config.get("model_type")
    if config_name in json_files.contents and not isinstance(model_type, str):
        files.fault(config_name, "has no model_type, so the architecture would be guessed from the path. Add it.")
    settings = _read_settings(json_files, folder) if has_settings else {}
    makes_vector = settings.get("module_output_name") == "sentence_embedding"
    tokenizer = json_files.object(within(folder, "tokenizer_config.json"))
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else ""
    return Transformer(
        model_type=str(model_type),
        width=_width(config, makes_vector),
        max_tokens=_max_tokens(config, settings, tokenizer),
        makes_vector=makes_vector,
        is_causal=str(first).endswith("ForCausalLM") and bool(config.get("is_causal", True)),
    )


def _check_complete(files: FolderFiles, folder: str) -> None:
    own = {base for name in files.present if within(folder, base := name.rpartition("/")[2]) == name}
    if "config.json" not in own:
        files.fault(within(folder, "config.json"), "missing. Fetch the complete model.")
    if not own & set(_WEIGHTS):
        files.fault(within(folder, _WEIGHTS[0]), "missing, and so is an index of shards. Fetch or convert the weights.")
    has_sentencepiece = any(name.endswith(".model") for name in own)
    if not has_sentencepiece and not any(own.issuperset(names) for names in _TOKENIZERS):
        files.fault(
            within(folder, "tokenizer.json"), "missing, and so is any other vocabulary. Fetch the complete model."
        )


def _read_settings(json_files: JsonFiles, folder: str) -> dict[str, object]:
    for name in (within(folder, base) for base in SETTINGS_FILES):
        settings = json_files.object(name)
        if settings:
            for fault in _setting_faults(settings):
                json_files.folder.fault(name, fault)
            return settings
    return {}


def _setting_faults(settings: Mapping[str, object]) -> list[str]:
    blocks = _ARGUMENT_SETTINGS.keys() | _ARGUMENT_SETTINGS.values()
    faults = [f"has the unknown setting {shown(key)}. Remove it." for key in settings.keys() - _SETTINGS - blocks]
    for key in sorted(blocks & settings.keys()):
        block = settings[key]
        if not isinstance(block, dict):
            faults.append(f"{key} must be an object. Fix it.")
            continue
        unknown = sorted(block.keys() - _ARGUMENTS)
        faults.extend(f"{key} has {shown(argument)}, which is not supported. Remove it." for argument in unknown)
    if settings.get("transformer_task", "feature-extraction") != "feature-extraction":
        faults.append(
            "transformer_task is not feature-extraction, so the model returns no embeddings. Use another model."
        )
    for key in ("query_length", "document_length", "query_expansion", "processing_kwargs"):
        if settings.get(key):
            faults.append(f"{key} changes the length of texts in addition to max_seq_length. Remove it.")
    limit = settings.get("max_seq_length")
    if limit is not None and (type(limit) is not int or limit < 1):
        faults.append(f"max_seq_length is {shown(limit)}, but must be a positive integer. Fix it.")
    return faults + _modality_faults(settings)


def _modality_faults(settings: Mapping[str, object]) -> list[str]:
    modalities = settings.get("modality_config")
    if modalities is None:
        return []
    text = modalities.get("text") if isinstance(modalities, dict) else None
    if not isinstance(text, dict) or not isinstance(text.get("method"), str):
        return ["modality_config has no plain text input. Use a model that embeds text."]
    if not _TEXT_METHOD.fullmatch(text["method"]):
        return [f"modality_config names {shown(text['method'])}, which is not a method that embeds text. Fix it."]
    if settings.get("module_output_name") not in ("token_embeddings", "sentence_embedding"):
        return ["module_output_name is neither token_embeddings nor sentence_embedding. Fix it."]
    return []


def _width(config: Mapping[str, object], makes_vector: bool) -> int | None:
    keys = ("projection_dim", *_WIDTH_KEYS) if makes_vector else _WIDTH_KEYS
    text_config = config.get("text_config")
    for source in (config, text_config if isinstance(text_config, dict) else {}):
        for key in keys:
            value = source.get(key)
            if type(value) is int and value > 0:
                return value
    return None


def _max_tokens(
    config: Mapping[str, object], settings: Mapping[str, object], tokenizer: Mapping[str, object]
) -> int | None:
    arguments: dict[str, object] = {}
    for old, new in _ARGUMENT_SETTINGS.items():
        block = settings.get(old, settings.get(new))
        if new == "processor_kwargs" and isinstance(block, dict):
            arguments = block
    stated = arguments.get("model_max_length", settings.get("max_seq_length"))
    if stated is not None:
        return _limit(stated)
    position_key = _POSITIONS.get(str(config.get("model_type")), "max_position_embeddings")
    tokenizer_limit = tokenizer.get("model_max_length", tokenizer.get("max_len"))
    limits = [limit for limit in (_limit(tokenizer_limit), _limit(config.get(position_key))) if limit is not None]
    return min(limits, default=None)


def _limit(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _UNLIMITED:
        return None
    return int(value)
