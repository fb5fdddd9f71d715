"""The bundle of `conf/databricks`, read as the platform's CLI reads it: files joined, variables put in."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\{var\.([A-Za-z_]\w*)\}")
_OTHER = re.compile(r"\$\{(?!var\.)([\w.]+)\}")
# What the CLI itself knows of the target and the workspace.
BUILT_IN = {"bundle.name", "bundle.target", "workspace.file_path", "workspace.current_user.userName"}


def read_bundle(folder: Path) -> dict[str, Any]:
    """Reads `databricks.yml` and the files that it includes."""
    bundle: dict[str, Any] = yaml.safe_load(folder.joinpath("databricks.yml").read_text())
    jobs: dict[str, Any] = {}
    for pattern in bundle["include"]:
        for file in sorted(folder.glob(pattern)):
            jobs |= yaml.safe_load(file.read_text())["resources"]["jobs"]
    return {**bundle, "resources": {"jobs": jobs}}


def texts(node: object) -> Iterator[str]:
    """Every text in a document, keys left out."""
    if isinstance(node, dict):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


def faults_of(bundle: Mapping[str, Any], given: Mapping[str, str]) -> list[str]:
    """What keeps a bundle from being deployed with the given variables: names that nobody declares or sets."""
    declared = bundle["variables"]
    used = {name for text in texts({**bundle, "variables": None}) for name in _VARIABLE.findall(text)}
    found = [f"{name} is used, but not declared under variables" for name in sorted(used - set(declared))]
    found += [f"{name} is declared, but not used" for name in sorted(set(declared) - used)]
    found += [f"{name} is given, but not declared under variables" for name in sorted(set(given) - set(declared))]
    others = {name for text in texts(bundle) for name in _OTHER.findall(text)}
    found += [f"{name} is not known to the CLI" for name in sorted(others - BUILT_IN)]
    required = [name for name in declared if "default" not in declared[name]]
    return found + [f"no value assigned to required variable {name}" for name in required if name not in given]


def resolved(node: Any, values: Mapping[str, Any]) -> Any:
    """Puts variables in; a text that is one variable becomes its value, whatever the type."""
    if isinstance(node, dict):
        return {key: resolved(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved(value, values) for value in node]
    if not isinstance(node, str):
        return node
    alone = _VARIABLE.fullmatch(node)
    return values[alone[1]] if alone else _VARIABLE.sub(lambda found: str(values[found[1]]), node)
