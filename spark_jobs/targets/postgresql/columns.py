"""The columns of a PostgreSQL table: their types, and their values as a binary COPY takes them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError
from spark_jobs.targets.address import identifier_fault
from spark_jobs.targets.rows import as_keys, matrix_of
from spark_jobs.targets.values import can_be_json, json_values, python_values

# pgvector's limits on dimensions: for the type, and for an index on it in full and in half precision.
MAX_DIMENSION = 16_000
MAX_INDEXED = 2_000
MAX_INDEXED_HALF = 4_000
# psycopg adds nothing to raw bytes, and COPY does not ask for their type.
RAW = "bytea"
# Every table already has these.
_SYSTEM_COLUMNS = {"tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"}
_SIMPLE: tuple[tuple[Callable[[pa.DataType], bool], str, str], ...] = (
    (pa.types.is_string, "text", "text"),
    (pa.types.is_int8, "smallint", "int2"),
    (pa.types.is_int16, "smallint", "int2"),
    (pa.types.is_int32, "integer", "int4"),
    (pa.types.is_int64, "bigint", "int8"),
    (pa.types.is_float32, "real", "float4"),
    (pa.types.is_float64, "double precision", "float8"),
    (pa.types.is_boolean, "boolean", "bool"),
    (pa.types.is_date32, "date", "date"),
    (pa.types.is_binary, "bytea", RAW),
)

_NUL, _REPLACEMENT = "\0", "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table.

    Attributes:
        name: Its exact name.
        type: Its type without numbers in brackets, as PostgreSQL's `format_type` writes it.
        numbers: The numbers in brackets: precision and scale, or the dimension.
        copy_type: The type that psycopg uses to write values in a binary COPY; `RAW` if this module writes them.
    """

    name: str
    type: str
    numbers: tuple[int, ...]
    copy_type: str

    @property
    def full_type(self) -> str:
        """The type with its numbers, as PostgreSQL's `format_type` writes it."""
        return self.type + (f"({','.join(map(str, self.numbers))})" if self.numbers else "")


def columns_of(rows: pa.Schema, dimension: int) -> list[Column]:
    """Chooses a type for each column.

    Args:
        rows: Columns of an export, with plain types.
        dimension: Numbers in an embedding.

    Returns:
        The columns in the same order.

    Raises:
        InputError: PostgreSQL cannot hold a name, a type or vectors of this dimension; every fault is named.
    """
    faults, columns = [], []
    if dimension > MAX_DIMENSION:
        faults.append(f"pgvector holds vectors of at most {MAX_DIMENSION:,} numbers, and these have {dimension:,}")
    for field in rows:
        fault = "is a name of PostgreSQL's own" if field.name in _SYSTEM_COLUMNS else identifier_fault(field.name)
        column = _column(field, dimension)
        if fault:
            faults.append(f"the payload column {field.name!a} {fault}. Rename it in the source.")
        elif column is None:
            faults.append(
                f"the payload column {field.name!a} is {field.type}, which PostgreSQL cannot hold. Remove it "
                "from source.payload_columns."
            )
        else:
            columns.append(column)
    if faults:
        raise InputError(faults)
    return columns


def _column(field: "pa.Field[Any]", dimension: int) -> Column | None:
    name, kind = field.name, field.type
    if name == "chunk_id":
        return Column(name, "uuid", (), RAW)
    if name == "embedding":
        return Column(name, "vector", (dimension,), RAW)
    for matches, type_, copy_type in _SIMPLE:
        if matches(kind):
            return Column(name, type_, (), copy_type)
    if pa.types.is_timestamp(kind):
        return Column(
            name, f"timestamp with{'' if kind.tz else 'out'} time zone", (), f"timestamp{'tz' * bool(kind.tz)}"
        )
    if pa.types.is_decimal128(kind):
        return Column(name, "numeric", (kind.precision, kind.scale), "numeric")
    return Column(name, "jsonb", (), RAW) if can_be_json(kind) else None


def values_of(batch: pa.RecordBatch, columns: list[Column]) -> tuple[Iterator[tuple[Any, ...]], int]:
    """Converts rows to the values of a binary COPY.

    PostgreSQL's text has no NUL character. Each becomes U+FFFD, one for one, so offsets still hold; readers of the
    table see that a character was there, and the export reports the number of such rows.

    Args:
        batch: (n,) rows in plain types.
        columns: Result of `columns_of`.

    Returns:
        n tuples of values in the columns' order; the number of rows in which a NUL was replaced.

    Raises:
        InputError: A date or an instant is outside the range of Python's types.
    """
    values, replaced = [], [False] * batch.num_rows
    for column in columns:
        column_values, has_nul = _values(column, batch.column(column.name))
        values.append(column_values)
        if has_nul is not None:
            replaced = [before or now for before, now in zip(replaced, has_nul, strict=True)]
    return zip(*values, strict=True), sum(replaced)


def _values(column: Column, array: "pa.Array[Any]") -> tuple[list[Any], list[bool] | None]:
    """Returns a column's values, and in which rows a NUL was replaced; None if the column has none."""
    if column.type == "uuid":
        raw = as_keys(array).tobytes()
        return [raw[start : start + 16] for start in range(0, len(raw), 16)], None
    if column.type == "vector":
        return _vectors_as_bytes(array), None
    if column.type == "jsonb":
        return _json_bytes(json_values(column.name, array))
    if column.type == "text":
        # The stubs type it as `object`.
        matches: Any = pc.match_substring(array, _NUL)
        has_nul = pc.fill_null(matches, False)
        if pc.any(has_nul, min_count=0).as_py():
            return pc.replace_substring(array, _NUL, _REPLACEMENT).to_pylist(), has_nul.to_pylist()
    return python_values(column.name, array), None


def _json_bytes(values: list[Any]) -> tuple[list[bytes | None], list[bool]]:
    encoded: list[bytes | None] = []
    has_nul = []
    for value in values:
        text = json.dumps(value)
        # The same six characters may follow another backslash, so the value itself decides.
        clean = _without_nul(value) if "\\u0000" in text else value
        has_nul.append(clean != value)
        # The binary form of jsonb is its version and the text.
        encoded.append(None if value is None else b"\1" + (json.dumps(clean) if has_nul[-1] else text).encode("ascii"))
    return encoded, has_nul


def _without_nul(value: Any) -> Any:
    """Replaces NUL characters with U+FFFD in the strings and object names of a JSON value."""
    if isinstance(value, str):
        return value.replace(_NUL, _REPLACEMENT)
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return value


def _vectors_as_bytes(embeddings: Any) -> list[bytes]:
    """Encodes (n,) embeddings for pgvector: dimension and zero as two bytes each, then the numbers, all big-endian."""
    matrix = matrix_of(embeddings)
    head = matrix.shape[1].to_bytes(2, "big") + b"\0\0"
    return [head + row.tobytes() for row in matrix.astype(">f4")]
