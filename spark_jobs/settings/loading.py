"""Loading the configuration from one YAML file, the environment and overrides: strict, all faults reported at once."""

import difflib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from schemas.errors import InputError
from spark_jobs.settings.sections import (
    ChunkingSettings,
    CostSettings,
    FollowSettings,
    InferenceSettings,
    MaintenanceSettings,
    ModelSettings,
    Name,
    PromotionSettings,
    RunSettings,
    Section,
    SourceSettings,
    Spaces,
    SparkSettings,
    StoreSettings,
    as_context,
)

Model = TypeVar("Model", bound=BaseModel)

PREFIX = "EMBEDLAKE_"
_SIZE_LIMIT = 1 << 20
# A sign or a kind of token, as PyYAML quotes it.
_YAML_TOKENS = re.compile(r"'(?:\\?.|<[a-z ]+>)'")
# Keys below these are Spark's own and may contain dots.
_OPEN_MAPS = (("spark", "properties"), ("source", "options"))
# What may differ from space to space.
_OF_A_SPACE = ("chunking", "model", "inference")


class Settings(Section):
    """The whole configuration of a job: library, space, and every section."""

    library: Name
    space: Name = "main"
    spaces: Spaces = Field(default=[])
    store: StoreSettings
    source: SourceSettings
    chunking: ChunkingSettings = ChunkingSettings()
    model: ModelSettings
    inference: InferenceSettings = InferenceSettings()
    run: RunSettings = RunSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    follow: FollowSettings = FollowSettings()
    promotion: PromotionSettings = PromotionSettings()
    cost: CostSettings = CostSettings()
    spark: SparkSettings = SparkSettings()

    @model_validator(mode="before")
    @classmethod
    def _columns_of_the_context(cls, values: object) -> object:
        """Tells the source which columns the contexts of chunks need."""
        if not isinstance(values, dict) or not isinstance(values.get("source"), dict):
            return values
        source = values["source"]
        if "context" in source:
            raise ValueError("source.context is no setting. Set chunking.context.")
        chunking = values.get("chunking")
        # What is no list of names is refused by its own section.
        with suppress(ValueError):
            context = as_context(chunking.get("context")) if isinstance(chunking, dict) else []
            return {**values, "source": {**source, "context": context if isinstance(context, list) else []}}
        return values

    @model_validator(mode="after")
    def _price_of_the_cap(self) -> "Settings":
        if self.run.max_cost is not None and not self.cost.per_hour:
            raise ValueError("run.max_cost needs cost.per_hour above 0. Set what an hour of the session costs.")
        return self


def as_settings(values: dict[str, Any]) -> Settings:
    """Builds settings from plain values, as a notebook has them.

    Args:
        values: Nested dictionary with the keys of the settings file.

    Returns:
        The settings, with defaults filled in; those of the first space if there are several.

    Raises:
        InputError: Unknown keys, wrong types or impossible combinations; the message lists all, each with its path.
    """
    return as_spaces(values)[0]


def as_spaces(values: dict[str, Any]) -> list[Settings]:
    """Builds the settings of each space from plain values.

    Args:
        values: Nested dictionary with the keys of the settings file.

    Returns:
        The settings of each of `spaces`, in their order, with what differs filled in. If `space` is given too, it
        chooses one. Without `spaces`, those of `space` alone.

    Raises:
        InputError: As `as_settings` says, or `space` is not one of `spaces`.
    """
    if not values.get("spaces"):
        return [checked(Settings, values)]
    # Each space may have a model of its own; whether all have one is checked with the settings of each.
    model = values.get("model", {})
    faults = _faults(Settings, {**values, "model": {"path": "-", **model} if isinstance(model, dict) else model})
    entries = values["spaces"] if isinstance(values["spaces"], list) else []
    spaces = []
    for entry in ({"name": entry} if isinstance(entry, str) else entry for entry in entries):
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            merged = _of_space(values, entry)
            more = [fault for fault in _faults(Settings, merged) if fault not in faults]
            # What is wrong with the name is told of the entry.
            faults += [f"space {entry['name']}: {fault}" for fault in more if not fault.startswith("space: ")]
            spaces.append(merged)
    if faults:
        raise InputError(faults)
    return _chosen([checked(Settings, each) for each in spaces], values.get("space"))


def _of_space(values: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Merges what an entry of `spaces` says into the rest of the settings."""
    merged = {**values, "space": entry["name"]}
    del merged["spaces"]
    for section in _OF_A_SPACE:
        own, rest = entry.get(section), values.get(section, {})
        if isinstance(own, dict) and isinstance(rest, dict) and own:
            merged[section] = {**rest, **own}
    return merged


def _chosen(spaces: Sequence[Settings], name: str | None) -> list[Settings]:
    chosen = [each for each in spaces if name in (None, each.space)]
    if not chosen:
        names = ", ".join(each.space for each in spaces)
        raise InputError(f"space {name} is not one of spaces ({names}). Name one of them, or add it to spaces.")
    return chosen


class _Named(Section):
    space: Name


def with_space(settings: Settings, space: str) -> Settings:
    """Names another space; refuses what is no name."""
    return settings.model_copy(update={"space": checked(_Named, {"space": space}).space})


def load_settings(
    path: str | os.PathLike[str], overrides: list[str] | None = None, environ: dict[str, str] | None = None
) -> Settings:
    """Reads a settings file, then the environment, then overrides; later ones win.

    Args:
        path: YAML file.
        overrides: `key=value` pairs such as `model.dtype=float32`; values are YAML.
        environ: Environment; by default the process's own. `EMBEDLAKE_MODEL__DTYPE` sets `model.dtype`.

    Returns:
        The settings, with defaults filled in; those of the first space if there are several.

    Raises:
        InputError: The file cannot be read, or `as_settings` refuses its values.
    """
    return load_spaces(path, overrides, environ)[0]


def load_spaces(
    path: str | os.PathLike[str], overrides: list[str] | None = None, environ: dict[str, str] | None = None
) -> list[Settings]:
    """Reads settings as `load_settings` does, and returns those of each space, as `as_spaces` does."""
    return as_spaces(merged_values(path, overrides or [], dict(os.environ if environ is None else environ)))


def checked(model: type[Model], values: dict[str, Any]) -> Model:
    """Builds a settings model, or reports every fault in one sentence each."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        sentences = [_sentence(model, fault) for fault in error.errors()]
        raise InputError(dict.fromkeys(sentences)) from error


def _faults(model: type[BaseModel], values: dict[str, Any]) -> list[str]:
    try:
        checked(model, values)
    except InputError as error:
        return list(error.faults)
    return []


def merged_values(path: str | os.PathLike[str], overrides: list[str], environ: dict[str, str]) -> dict[str, Any]:
    """Merges a settings file with the environment and with overrides; later ones win. Nothing is checked yet."""
    values = _file_values(Path(path))
    if values.get("space") is not None and values.get("spaces"):
        raise InputError(
            f"settings file {path} has both space and spaces. Remove space; --set space=NAME chooses one of spaces for "
            "a command."
        )
    for name in sorted(environ):
        if name.startswith(PREFIX):
            _set(values, name[len(PREFIX) :].lower().replace("__", "."), environ[name], f"environment variable {name}")
    for pair in overrides:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise InputError(f"--set {pair} is not a setting. Write key=value, such as model.dtype=float32.")
        _set(values, key, text, f"--set {key}")
    return values


def _sentence(model: type[BaseModel], fault: Any) -> str:
    # Unions and validators add parts to the path that are not keys of the file.
    path = tuple(part for part in fault["loc"] if not str(part).startswith(("literal[", "constrained-", "function-")))
    key = ".".join(map(str, path))
    if fault["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"Known settings are {', '.join(known)}."
        return f"{key} is not a setting. {remedy}"
    if fault["type"] == "missing":
        return f"{key} is missing. Add it to the settings file."
    if fault["type"] == "value_error":
        return f"{key or 'settings'}: {fault['ctx']['error']}"
    given = fault["input"]
    # A section or map that was given as text may hold a password.
    is_single = fault["type"] not in ("model_type", "dict_type") and path[:2] not in _OPEN_MAPS
    shown = f", not {given!r}" if is_single and isinstance(given, str | int | float) and len(repr(given)) <= 80 else ""
    return f"{key}: {fault['msg'].removeprefix('Input ').strip()}{shown}"


def _known_keys(model: type[BaseModel], parents: tuple[Any, ...]) -> list[str]:
    # An index stands for an element of the list before it.
    for parent in (each for each in parents if not isinstance(each, int)):
        field = model.model_fields.get(str(parent))
        kind = (get_args(field.annotation) or (field.annotation,))[0] if field is not None else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return [field.alias or name for name, field in model.model_fields.items() if not field.exclude]


def _file_values(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise InputError(f"settings file {path} is larger than 1 MiB. Is it the right file?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"settings file {path} cannot be read: {cause}") from error
    values = _parsed(text, f"settings file {path}")
    if not isinstance(values, dict):
        raise InputError(
            f"settings file {path} contains no settings. Expected `library:`, `store:`, ... at its top level."
        )
    return values


def _set(values: dict[str, Any], key: str, text: str, where: str) -> None:
    *parents, last = _split(key)
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise InputError(f"{where}: {parent} is a value, not a group of settings")
    values[last] = _parsed(text, where)


def _split(key: str) -> tuple[str, ...]:
    parts = tuple(key.split("."))
    return (*parts[:2], ".".join(parts[2:])) if parts[:2] in _OPEN_MAPS and len(parts) > 2 else parts


def _parsed(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{where} cannot be parsed: {_yaml_cause(error)}") from error
    except (AttributeError, LookupError, TypeError) as error:
        # PyYAML fails like this if a tag and its value do not match, such as `!!bool perhaps`.
        raise InputError(f"{where} cannot be parsed: a value does not match its tag") from error


def _yaml_cause(error: Exception) -> str:
    """Says what is wrong with YAML and where; PyYAML quotes the line, which may hold a password."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not isinstance(error, yaml.MarkedYAMLError):
        return _without_values(str(error).partition("\n")[0]) if isinstance(error, ValueError) else str(error)
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return place + _without_values(", ".join(filter(None, (error.context, error.problem))))


def _without_values(text: str) -> str:
    is_harmless = not set("'\"") & set(_YAML_TOKENS.sub("", text))
    return text if is_harmless else re.sub(r"['\"].*['\"]", "...", text, flags=re.DOTALL)


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader; it rejects repeated keys, and aliases, which could expand without limit."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: key {key!r} is not text")
            if key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: key {key} appears twice")
            seen.add(key)
        return super().construct_mapping(node, deep)
