"""Plain values of the settings from their three sources: file, environment, command line."""

import os
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import InputError

PREFIX = "EMBEDLAKE_"
_SIZE_LIMIT = 1 << 20
# Keys below these are Spark's own and may hold dots.
_OPEN_MAPS = (("spark", "properties"), ("source", "options"))


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, which would let the last of two equal keys win and aliases multiply without end."""

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
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: key {key} stands twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parsed(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        cause = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{where} is not YAML that can be used: {cause}") from error
    except (AttributeError, LookupError, TypeError) as error:
        # What PyYAML trips over where a tag and its value do not fit, such as `!!bool perhaps`.
        raise InputError(f"{where} is not YAML that can be used: a value does not fit its tag") from error


def _file_values(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise InputError(f"settings file {path} is larger than 1 MiB: is it the right file?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"settings file {path} cannot be read: {cause}") from error
    values = _parsed(text, f"settings file {path}")
    if not isinstance(values, dict):
        raise InputError(f"settings file {path} holds no settings: expected `library:`, `store:`, ... at its top")
    return values


def _split(key: str) -> tuple[str, ...]:
    parts = tuple(key.split("."))
    return (*parts[:2], ".".join(parts[2:])) if parts[:2] in _OPEN_MAPS and len(parts) > 2 else parts


def _set(values: dict[str, Any], key: str, text: str, where: str) -> None:
    *parents, last = _split(key)
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise InputError(f"{where}: {parent} is a value, not a group of settings")
    values[last] = _parsed(text, where)


def merged_values(path: str | os.PathLike[str], overrides: list[str], environ: dict[str, str]) -> dict[str, Any]:
    """Merges a settings file with the environment and with overrides; later ones win.

    Args:
        path: YAML file.
        overrides: `key=value` pairs; values are YAML.
        environ: Environment; `EMBEDLAKE_MODEL__DTYPE` sets `model.dtype`.

    Returns:
        Nested dictionary, not yet checked.

    Raises:
        InputError: The file cannot be read or parsed, or an override has no `=`.
    """
    values = _file_values(Path(path))
    for name in sorted(environ):
        if name.startswith(PREFIX):
            _set(values, name[len(PREFIX) :].lower().replace("__", "."), environ[name], f"environment variable {name}")
    for pair in overrides:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise InputError(f"--set {pair}: write key=value, such as model.dtype=float32")
        _set(values, key, text, f"--set {key}")
    return values
