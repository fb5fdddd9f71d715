"""JSON that every reader takes, of values that Spark rows and reports hold."""

import base64
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from pyspark.sql import Row
from pyspark.sql.types import ArrayType, DataType, MapType, StructType, TimestampType, VariantVal

_MICROSECONDS = 10**6


def json_text(value: object, kind: DataType | None = None, indent: int | None = None) -> str:
    """Renders a value as JSON.

    Args:
        value: Whatever `json_value` converts.
        kind: Its Spark type, or None.
        indent: Spaces for each level; None for one line.

    Returns:
        JSON in ASCII: other characters are escaped, so that no terminal's encoding and no reader of lines takes offence
        at them.
    """
    return json.dumps(json_value(value, kind), indent=indent, allow_nan=False)


def json_value(value: object, kind: DataType | None = None) -> Any:
    """Converts a value as Spark collects it to one that JSON can hold, in the form that exports have too.

    Rows and maps become objects, and arrays arrays. Numbers that are not finite are the texts "NaN", "Infinity" and
    "-Infinity", as Spark's `to_json` writes them. Decimals are text with all their digits, bytes are Base64, dates,
    times and instants are ISO 8601, instants in UTC, and durations are ISO 8601 in seconds. The key of a map is the
    text of its value; if that is a list or an object, its JSON.

    Args:
        value: The value.
        kind: Its Spark type. Without it, an instant is written as the local time that Spark collects.

    Returns:
        None, bool, int, float, str, list or dict.
    """
    if isinstance(value, VariantVal):
        return json_value(value.toPython())
    if isinstance(value, Row) and hasattr(value, "__fields__"):
        kinds = [field.dataType for field in kind] if isinstance(kind, StructType) else [None] * len(value)
        pairs = zip(value.__fields__, value, kinds, strict=True)
        return {name: json_value(item, its_kind) for name, item, its_kind in pairs}
    if isinstance(value, Mapping):
        key_kind, item_kind = (kind.keyType, kind.valueType) if isinstance(kind, MapType) else (None, None)
        return {_key(key, key_kind): json_value(item, item_kind) for key, item in value.items()}
    if isinstance(value, list | tuple):
        item_kind = kind.elementType if isinstance(kind, ArrayType) else None
        return [json_value(item, item_kind) for item in value]
    if isinstance(value, datetime) and isinstance(kind, TimestampType):
        return value.astimezone(UTC).isoformat()
    return _scalar(value)


def _key(key: object, kind: DataType | None) -> str:
    value = json_value(key, kind)
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False)


def _scalar(value: object) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = Decimal(value // timedelta(microseconds=1)) / _MICROSECONDS
        return f"{'-' * (seconds < 0)}PT{abs(seconds):f}S"
    return str(value)
