"""Rows to export, made from ids. The same id and run give the same row, with payload of every type."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.targets.target import RowFormat

DIMENSION = 8
OWNER = "embedlake toy.main aaaa"
LANGUAGE = pa.field("language", pa.string())
_NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=dt.UTC)
_PART = pa.struct([("x", pa.int32()), ("y", pa.string())])

# Name, type, value in a row as Arrow returns it, and the same value in JSON.
EVERY_TYPE: list[tuple[str, pa.DataType, Any, Any]] = [
    ("a_string", pa.string(), 'a "b"\n\\u0000 ä', 'a "b"\n\\u0000 ä'),
    ("an_int8", pa.int8(), -128, -128),
    ("an_int16", pa.int16(), 32767, 32767),
    ("an_int32", pa.int32(), -(2**31), -(2**31)),
    ("an_int64", pa.int64(), 2**63 - 1, 2**63 - 1),
    ("a_float", pa.float32(), 0.25, 0.25),
    ("a_double", pa.float64(), 0.1, 0.1),
    ("a_bool", pa.bool_(), True, True),
    ("a_date", pa.date32(), dt.date(1, 1, 1), "0001-01-01"),
    ("an_instant", pa.timestamp("us", tz="UTC"), _NOON, "2024-02-29T12:00:00.123456+00:00"),
    ("a_local_time", pa.timestamp("us"), _NOON.replace(tzinfo=None), "2024-02-29T12:00:00.123456"),
    ("a_decimal", pa.decimal128(38, 10), Decimal("-1234567890123456789.0000000001"), "-1234567890123456789.0000000001"),
    ("some_bytes", pa.binary(), b"\0\xff", "AP8="),
    ("a_list", pa.list_(pa.field("element", pa.string())), ["x", None, ""], ["x", None, ""]),
    ("a_struct", _PART, {"x": 1, "y": None}, {"x": 1, "y": None}),
    ("a_list_of_structs", pa.list_(pa.field("element", _PART)), *[[{"x": None, "y": "z"}, None]] * 2),
    ("a_map", pa.map_(pa.string(), pa.int64()), [("k", 1), ("l", None)], {"k": 1, "l": None}),
]  # fmt: skip


def ids_of(names: Iterable[object]) -> list[str]:
    """UUIDs, one for each name."""
    return [str(uuid.uuid5(uuid.NAMESPACE_OID, str(name))) for name in names]


def shape_of(
    payload: Sequence[pa.Field] = (LANGUAGE,), dimension: int = DIMENSION, owner: str = OWNER, table: str = "t1"
) -> RowFormat:
    schema = pa.schema(
        [
            ("chunk_id", pa.string()),
            ("doc_id", pa.string()),
            ("chunk_index", pa.int32()),
            ("char_start", pa.int32()),
            ("char_end", pa.int32()),
            ("text", pa.string()),
            *payload,
            ("run_id", pa.string()),
            ("embedding", pa.list_(pa.field("element", pa.float32()), dimension)),
        ]
    )
    return RowFormat(owner, dimension, schema, table)


def vector_of(chunk_id: str, run: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    seed = uuid.uuid5(uuid.UUID(chunk_id), run).int % 2**64
    vector = np.random.default_rng(seed).normal(size=dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def row_of(chunk_id: str, run: str, shape: RowFormat, **values: Any) -> dict[str, Any]:
    return {
        "chunk_id": chunk_id,
        "doc_id": f"doc {chunk_id[:2]}",
        "chunk_index": 3,
        "char_start": 10,
        "char_end": 20,
        "text": f"text of {run}",
        **{field.name: None for field in shape.rows if field.name not in FIXED},
        **({"language": "en"} if LANGUAGE in list(shape.rows) else {}),
        "run_id": run,
        "embedding": vector_of(chunk_id, run, shape.dimension).tolist(),
        **values,
    }


FIXED = {"chunk_id", "doc_id", "chunk_index", "char_start", "char_end", "text", "run_id", "embedding"}


def batch_of(ids: Iterable[str], run: str, shape: RowFormat | None = None, **values: Any) -> pa.RecordBatch:
    shape = shape or shape_of()
    return pa.RecordBatch.from_pylist([row_of(i, run, shape, **values) for i in ids], schema=shape.rows)
