"""Payload values of any Arrow type as JSON values, for targets that store payload as documents."""

import base64
import datetime
import decimal
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from schemas.errors import InputError

_SCALAR_TYPES: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_string,
    pa.types.is_boolean,
    pa.types.is_signed_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_date32,
    pa.types.is_timestamp,
    pa.types.is_decimal128,
    pa.types.is_binary,
)


def can_be_json(kind: pa.DataType) -> bool:
    """Whether `json_values` can convert a plain Arrow type (see `rows.plain_type`)."""
    if pa.types.is_list(kind):
        return can_be_json(kind.value_type)
    if pa.types.is_struct(kind):
        return all(can_be_json(field.type) for field in kind)
    if pa.types.is_map(kind):
        return can_be_json(kind.key_type) and can_be_json(kind.item_type)
    return any(matches(kind) for matches in _SCALAR_TYPES)


def check_json(rows: pa.Schema) -> None:
    """Raises an InputError that names every column but `embedding` whose plain type JSON cannot hold."""
    faults = [
        f"the payload column {field.name!a} is {field.type}, which this target cannot hold. Remove it from "
        "source.payload_columns."
        for field in rows
        if field.name != "embedding" and not can_be_json(field.type)
    ]
    if faults:
        raise InputError(faults)


def python_values(name: str, column: "pa.Array[Any]") -> list[Any]:
    """Converts a column to Python values.

    Args:
        name: The column's name, for messages.
        column: (n,) of any type.

    Returns:
        n Python values.

    Raises:
        InputError: A date or an instant is outside the range of Python's types.
    """
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError) as error:
        raise InputError(
            f"the payload column {name!r} has a date or a time outside the years 1 to 9999, which this target cannot "
            "hold. Fix it in the source, or remove the column from source.payload_columns."
        ) from error


def json_values(name: str, column: "pa.Array[Any]") -> list[Any]:
    """Converts a column to JSON values.

    Lists become arrays; structs and maps become objects. Dates and instants are ISO 8601 (instants in UTC), decimals
    are text with all their digits, bytes are Base64, and non-finite numbers are "NaN", "Infinity" or "-Infinity", as
    Spark's `to_json` writes them.

    Args:
        name: The column's name, for messages.
        column: (n,) of a type that `can_be_json`.

    Returns:
        n values of None, bool, int, float, str, list and dict.

    Raises:
        InputError: A date or an instant is outside the range of Python's types.
    """
    return [_json_value(value, column.type) for value in python_values(name, column)]


def _json_value(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {_object_name(key, kind.key_type): _json_value(item, kind.item_type) for key, item in value}
    if pa.types.is_struct(kind):
        return {field.name: _json_value(value[field.name], field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_json_value(item, kind.value_type) for item in value]
    return _scalar(value)


def _object_name(key: Any, kind: pa.DataType) -> str:
    value = _json_value(key, kind)
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value
