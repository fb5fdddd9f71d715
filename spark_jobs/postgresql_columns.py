"""The columns of a table of PostgreSQL."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.errors import InputError
from spark_jobs.postgresql_place import identifier_fault
from spark_jobs.target_values import can_be_json

# pgvector's own limits: for the type, and for an index on it in full and in half precision.
MOST_NUMBERS = 16_000
MOST_INDEXED = 2_000
MOST_INDEXED_HALF = 4_000
# Bytes as they are: psycopg puts nothing before or around them, and COPY does not ask what they were.
RAW = "bytea"
# Every table has these already.
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


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table.

    Attributes:
        name: Its name, exactly.
        type: Its type without numbers in brackets, as PostgreSQL's `format_type` writes it.
        numbers: The numbers in brackets: precision and scale, or the dimension.
        copied: The type by whose rules psycopg writes values for a binary COPY; `RAW` where they are written here.
    """

    name: str
    type: str
    numbers: tuple[int, ...]
    copied: str

    @property
    def full_type(self) -> str:
        """The type with its numbers, as PostgreSQL's `format_type` writes it."""
        return self.type + (f"({','.join(map(str, self.numbers))})" if self.numbers else "")


def columns_of(rows: pa.Schema, dimension: int) -> list[Column]:
    """Chooses a type for each column.

    Args:
        rows: Columns of an export in plain types.
        dimension: Numbers of an embedding.

    Returns:
        The columns in the same order.

    Raises:
        InputError: PostgreSQL cannot hold a name, a type or vectors of so many numbers; every fault is named.
    """
    faults, columns = [], []
    if dimension > MOST_NUMBERS:
        faults.append(f"pgvector holds vectors of at most {MOST_NUMBERS:,} numbers, and these have {dimension:,}")
    for field in rows:
        fault = "is a name of PostgreSQL's own" if field.name in _SYSTEM_COLUMNS else identifier_fault(field.name)
        column = _column(field, dimension)
        if fault:
            faults.append(f"the payload column {field.name!a} {fault}: rename it in the source")
        elif column is None:
            faults.append(
                f"the payload column {field.name!a} is {field.type}, which PostgreSQL cannot hold: leave it out of "
                "source.payload_columns"
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
    for is_it, type_, copied in _SIMPLE:
        if is_it(kind):
            return Column(name, type_, (), copied)
    if pa.types.is_timestamp(kind):
        return Column(
            name, f"timestamp with{'' if kind.tz else 'out'} time zone", (), f"timestamp{'tz' * bool(kind.tz)}"
        )
    if pa.types.is_decimal128(kind):
        return Column(name, "numeric", (kind.precision, kind.scale), "numeric")
    return Column(name, "jsonb", (), RAW) if can_be_json(kind) else None
