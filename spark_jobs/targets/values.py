"""Values of any type as plain ones of JSON, for targets that keep payload as documents."""

import base64
import datetime
import decimal
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from schemas.errors import InputError

_PLAIN: tuple[Callable[[pa.DataType], bool], ...] = (
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
    """Tells whether `json_values` knows a type.

    Args:
        kind: A plain Arrow type, see `target_rows.plain_type`.

    Returns:
        Whether it does.
    """
    if pa.types.is_list(kind):
        return can_be_json(kind.value_type)
    if pa.types.is_struct(kind):
        return all(can_be_json(part.type) for part in kind)
    if pa.types.is_map(kind):
        return can_be_json(kind.key_type) and can_be_json(kind.item_type)
    return any(is_it(kind) for is_it in _PLAIN)


def check_json(rows: pa.Schema) -> None:
    """Refuses columns that JSON cannot hold.

    Args:
        rows: Columns in plain types; `embedding` is passed over.

    Raises:
        InputError: There are such columns; each is named.
    """
    faults = [
        f"the payload column {field.name!a} is {field.type}, which this target cannot hold: leave it out of "
        "source.payload_columns"
        for field in rows
        if field.name != "embedding" and not can_be_json(field.type)
    ]
    if faults:
        raise InputError(faults)


def python_values(name: str, column: "pa.Array[Any]") -> list[Any]:
    """Reads a column's values.

    Args:
        name: The column, for messages.
        column: (n,) of any type.

    Returns:
        n Python values.

    Raises:
        InputError: One of them is a date or an instant that Python does not know.
    """
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError) as error:
        raise InputError(
            f"the payload column {name!r} has a date or a time outside the years 1 to 9999, which this target cannot "
            "hold: mend it in the source, or leave the column out of source.payload_columns"
        ) from error


def json_values(name: str, column: "pa.Array[Any]") -> list[Any]:
    """Reads a column's values as JSON has them.

    Lists are arrays, structs and maps objects. Dates and instants are ISO 8601 (instants in UTC), decimals are text
    with all their digits, bytes are Base64, and a number that is none is "NaN", "Infinity" or "-Infinity", as Spark's
    `to_json` writes it.

    Args:
        name: The column, for messages.
        column: (n,) of a type that `can_be_json`.

    Returns:
        n values of None, bool, int, float, str, list and dict.

    Raises:
        InputError: One of them is a date or an instant that Python does not know.
    """
    return [_plain(value, column.type) for value in python_values(name, column)]


def _plain(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {_key(key, kind.key_type): _plain(item, kind.item_type) for key, item in value}
    if pa.types.is_struct(kind):
        return {part.name: _plain(value[part.name], part.type) for part in kind}
    if pa.types.is_list(kind):
        return [_plain(item, kind.value_type) for item in value]
    return _scalar(value)


def _key(key: Any, kind: pa.DataType) -> str:
    plain = _plain(key, kind)
    if isinstance(plain, bool):
        return str(plain).lower()
    return plain if isinstance(plain, str) else str(plain)


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
