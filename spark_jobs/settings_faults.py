"""What is wrong with settings, in the user's words, every fault at once."""

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def _known_keys(model: type[BaseModel], parents: tuple[Any, ...]) -> list[str]:
    for parent in parents:
        field = model.model_fields.get(str(parent))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return [field.alias or name for name, field in model.model_fields.items()]


def _sentence(model: type[BaseModel], fault: Any) -> str:
    # Unions and validators add parts to the path that are no keys of the file.
    path = tuple(part for part in fault["loc"] if not str(part).startswith(("literal[", "constrained-", "function-")))
    key = ".".join(map(str, path))
    if fault["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        return f"{key} is not a setting: " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}")
    if fault["type"] == "missing":
        return f"{key} is missing: add it to the settings file"
    if fault["type"] == "value_error":
        return f"{key or 'settings'}: {fault['ctx']['error']}"
    given = fault["input"]
    shown = f", not {given!r}" if isinstance(given, str | int | float) and len(repr(given)) <= 80 else ""
    return f"{key}: {fault['msg'].removeprefix('Input ').strip()}{shown}"


def checked(model: type[Model], values: dict[str, Any]) -> Model:
    """Builds a settings model or says everything that is wrong.

    Args:
        model: Model of the whole configuration.
        values: Nested dictionary of settings.

    Returns:
        The model's instance.

    Raises:
        InputError: One sentence for each fault, each with its key's path.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        sentences = [_sentence(model, fault) for fault in error.errors()]
        raise InputError(dict.fromkeys(sentences)) from error
