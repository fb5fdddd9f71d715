"""Batches of rows on their way to a target: plain types, ids as bytes, one row for each id."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import InputError

# Ids of 16 bytes each: numpy sorts, compares and stores them as fixed-width strings.
Keys = NDArray[np.bytes_]
_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
# Positions of a UUID's hyphens, and of its 32 digits.
_HYPHENS = np.array([8, 13, 18, 23])
_DIGITS = np.setdiff1d(np.arange(36), _HYPHENS)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Removes from a type what depends on the session that read it: time zone, wide offsets, nested nullability.

    Instants become UTC in microseconds; strings, bytes and lists become ordinary ones.
    """
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_fixed_size_list(kind):
        size: int = kind.list_size
        return pa.list_(pa.field("element", plain_type(kind.value_type)), size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field("element", plain_type(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    return kind


def plain_schema(rows: pa.Schema) -> pa.Schema:
    """Gives every column its plain type; names and order stay."""
    return pa.schema([pa.field(field.name, plain_type(field.type)) for field in rows])


def type_name(kind: pa.DataType) -> str:
    """Names a type, the same in every session."""
    return str(plain_type(kind))


def conform(rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Reduces batches to the columns of a plain schema, casts them to its types, and skips empty batches."""
    for batch in rows:
        if batch.num_rows:
            chosen = batch.select(schema.names)
            yield chosen if chosen.schema.equals(schema) else chosen.cast(schema)


def as_keys(ids: "pa.Array[Any]") -> Keys:
    """Converts UUIDs from text to bytes.

    Args:
        ids: (n,) string.

    Returns:
        (n,) of 16 bytes each.

    Raises:
        InputError: An id is null or not a lowercase UUID.
    """
    # The stubs type the results of string functions as `object`, here and below.
    matched: Any = pc.match_substring_regex(ids, _UUID)
    if not pc.all(pc.fill_null(matched, False), min_count=0).as_py():
        raise InputError(
            "a chunk_id of the vectors is not a lower-case UUID, so something other than embedlake wrote to them. "
            "Run `embedlake verify`."
        )
    digits: Any = pc.replace_substring(ids, pattern="-", replacement="")
    start = digits.offset * 32
    text = digits.buffers()[2].to_pybytes()[start : start + 32 * len(ids)] if len(ids) else b""
    return np.frombuffer(bytes.fromhex(text.decode("ascii")), dtype="S16")


def as_ids(keys: Keys) -> "pa.Array[Any]":
    """Converts UUIDs from (n,) bytes to (n,) text."""
    text = np.full((len(keys), 36), ord("-"), dtype=np.uint8)
    text[:, _DIGITS] = np.frombuffer(keys.tobytes().hex().encode("ascii"), dtype=np.uint8).reshape(-1, 32)
    # The stubs do not know numpy arrays as buffers before Python 3.12.
    offsets: Any = np.arange(0, 36 * (len(keys) + 1), 36, dtype=np.int32)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))


def regroup(rows: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Regroups batches to the size that a target writes at once.

    Args:
        rows: Batches of one schema.
        size: Rows in each group but the last; larger batches are cut.

    Yields:
        Groups that contain each chunk_id once, with its last row.
    """
    group: list[pa.RecordBatch] = []
    for batch in rows:
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, size - sum(other.num_rows for other in group))
            group.append(piece)
            start += piece.num_rows
            if sum(other.num_rows for other in group) == size:
                yield _last_rows(group)
                group = []
    if group:
        yield _last_rows(group)


def _last_rows(group: list[pa.RecordBatch]) -> pa.RecordBatch:
    batch = pa.Table.from_batches(group).combine_chunks().to_batches()[0]
    keys = as_keys(batch.column("chunk_id"))
    _, first = np.unique(keys[::-1], return_index=True)
    if len(first) == len(keys):
        return batch
    last: Any = pa.array(np.sort(len(keys) - 1 - first))
    return batch.take(last)


def matrix_of(embeddings: Any) -> NDArray[np.float32]:
    """Converts (n,) fixed_size_list<float32>[dimension] without nulls to (n, dimension) float32."""
    values = embeddings.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values.reshape(len(embeddings), embeddings.type.list_size), dtype=np.float32)
