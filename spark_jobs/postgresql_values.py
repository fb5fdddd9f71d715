"""The values that go into a table of PostgreSQL, as a binary COPY takes them."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spark_jobs.postgresql_columns import Column
from spark_jobs.target_rows import as_keys, matrix_of
from spark_jobs.target_values import json_values, python_values

_NUL, _REPLACEMENT = "\0", "\N{REPLACEMENT CHARACTER}"


def values_of(batch: pa.RecordBatch, columns: list[Column]) -> tuple[Iterator[tuple[Any, ...]], int]:
    """Reads rows as binary COPY takes them.

    PostgreSQL's text has no NUL character. Each becomes U+FFFD, one for one, so that offsets still hold; what reads the
    table sees that something stood there, and the export says how many rows had one.

    Args:
        batch: (n,) rows in plain types.
        columns: Result of `columns_of`.

    Returns:
        n tuples of values in the columns' order; rows in which a NUL was replaced.

    Raises:
        InputError: A date or an instant is none that Python knows.
    """
    read, replaced = [], [False] * batch.num_rows
    for column in columns:
        values, hit = _values(column, batch.column(column.name))
        read.append(values)
        if hit is not None:
            replaced = [before or now for before, now in zip(replaced, hit, strict=True)]
    return zip(*read, strict=True), sum(replaced)


def _values(column: Column, array: "pa.Array[Any]") -> tuple[list[Any], list[bool] | None]:
    """Returns a column's values, and in which rows a NUL was replaced; None for in none."""
    if column.type == "uuid":
        raw = as_keys(array).tobytes()
        return [raw[start : start + 16] for start in range(0, len(raw), 16)], None
    if column.type == "vector":
        return vectors_as_bytes(array), None
    if column.type == "jsonb":
        return _json_bytes(json_values(column.name, array))
    if column.type == "text":
        # The stubs give it as `object`.
        found: Any = pc.match_substring(array, _NUL)
        has_nul = pc.fill_null(found, False)
        if pc.any(has_nul, min_count=0).as_py():
            return pc.replace_substring(array, _NUL, _REPLACEMENT).to_pylist(), has_nul.to_pylist()
    return python_values(column.name, array), None


def _json_bytes(values: list[Any]) -> tuple[list[bytes | None], list[bool]]:
    written: list[bytes | None] = []
    hits = []
    for value in values:
        text = json.dumps(value)
        # The same six characters may stand there behind another backslash, so the value itself decides.
        clean = without_nul(value) if "\\u0000" in text else value
        hits.append(clean != value)
        # jsonb's binary form is its version and the text.
        written.append(None if value is None else b"\1" + (json.dumps(clean) if hits[-1] else text).encode("ascii"))
    return written, hits


def without_nul(value: Any) -> Any:
    """Replaces NUL characters by U+FFFD, in texts and in names of objects.

    Args:
        value: A value of JSON.

    Returns:
        The same value without them.
    """
    if isinstance(value, str):
        return value.replace(_NUL, _REPLACEMENT)
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    if isinstance(value, dict):
        return {without_nul(name): without_nul(item) for name, item in value.items()}
    return value


def vectors_as_bytes(embeddings: Any) -> list[bytes]:
    """Writes embeddings in pgvector's binary form.

    Args:
        embeddings: (n,) fixed_size_list<float32>[dimension].

    Returns:
        n times the dimension and a zero of two bytes each, then the numbers, all with the high byte first.
    """
    matrix = matrix_of(embeddings)
    head = matrix.shape[1].to_bytes(2, "big") + b"\0\0"
    return [head + row.tobytes() for row in matrix.astype(">f4")]
