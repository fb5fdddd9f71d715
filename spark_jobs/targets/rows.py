"""Batches of rows on their way to a target: one form for all of them, ids as bytes, the last of each id."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import InputError

# Ids as 16 bytes each: they sort, compare and lie in memory as fixed-width strings of numpy do.
Keys = NDArray[np.bytes_]
_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
# Where the hyphens of a UUID are, and where its 32 digits.
_HYPHENS = np.array([8, 13, 18, 23])
_DIGITS = np.setdiff1d(np.arange(36), _HYPHENS)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Takes from a type what the session that read a row adds to it: time zone, wide offsets, nested nullability.

    Args:
        kind: Any Arrow type.

    Returns:
        The type with instants in UTC and microseconds, and with ordinary strings, bytes and lists.
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
        return pa.struct([pa.field(part.name, plain_type(part.type)) for part in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    return kind


def plain_schema(rows: pa.Schema) -> pa.Schema:
    """Gives the columns in the form in which targets take them.

    Args:
        rows: Columns of an export.

    Returns:
        The same names in the same order, with plain types.
    """
    return pa.schema([pa.field(field.name, plain_type(field.type)) for field in rows])


def described(kind: pa.DataType) -> str:
    """Names a type, the same in whichever session a row was read.

    Args:
        kind: Any Arrow type.

    Returns:
        Its plain form in words.
    """
    return str(plain_type(kind))


def conformed(rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Brings batches into the form in which targets take them.

    Args:
        rows: Batches that have at least these columns.
        schema: Result of `plain_schema`, or some of its columns.

    Yields:
        The same rows with exactly these columns; empty batches are left out.
    """
    for batch in rows:
        if batch.num_rows:
            chosen = batch.select(schema.names)
            yield chosen if chosen.schema.equals(schema) else chosen.cast(schema)


def as_keys(ids: "pa.Array[Any]") -> Keys:
    """Reads ids, which are UUIDs.

    Args:
        ids: (n,) string.

    Returns:
        (n,) of 16 bytes each.

    Raises:
        InputError: One of them is null or no UUID in lower case.
    """
    # The stubs give what functions of strings return as `object`, here and below.
    matched: Any = pc.match_substring_regex(ids, _UUID)
    if not pc.all(pc.fill_null(matched, False), min_count=0).as_py():
        raise InputError(
            "a chunk_id of the vectors is no UUID in lower case: something else than embedlake wrote to them: run "
            "`embedlake verify`"
        )
    digits: Any = pc.replace_substring(ids, pattern="-", replacement="")
    start = digits.offset * 32
    text = digits.buffers()[2].to_pybytes()[start : start + 32 * len(ids)] if len(ids) else b""
    return np.frombuffer(bytes.fromhex(text.decode("ascii")), dtype="S16")


def as_ids(keys: Keys) -> "pa.Array[Any]":
    """Writes ids as text.

    Args:
        keys: (n,) of 16 bytes each.

    Returns:
        (n,) string.
    """
    text = np.full((len(keys), 36), ord("-"), dtype=np.uint8)
    text[:, _DIGITS] = np.frombuffer(keys.tobytes().hex().encode("ascii"), dtype=np.uint8).reshape(-1, 32)
    # The stubs know no array of numpy as a buffer before Python 3.12, nor where `pa.array` of one can be taken from.
    offsets: Any = np.arange(0, 36 * (len(keys) + 1), 36, dtype=np.int32)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))


def in_groups(rows: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Regroups batches, so that what a target does once for each group is done neither too often nor on too much.

    Args:
        rows: Batches of one schema.
        size: Rows of each group but the last; a batch that has more is cut.

    Yields:
        Groups, in which each chunk_id is once: the last of them.
    """
    kept: list[pa.RecordBatch] = []
    for batch in rows:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, size - sum(piece.num_rows for piece in kept))
            kept.append(part)
            start += part.num_rows
            if sum(piece.num_rows for piece in kept) == size:
                yield _last_of_each(kept)
                kept = []
    if kept:
        yield _last_of_each(kept)


def _last_of_each(group: list[pa.RecordBatch]) -> pa.RecordBatch:
    batch = pa.Table.from_batches(group).combine_chunks().to_batches()[0]
    keys = as_keys(batch.column("chunk_id"))
    _, first = np.unique(keys[::-1], return_index=True)
    if len(first) == len(keys):
        return batch
    places: Any = pa.array(np.sort(len(keys) - 1 - first))
    return batch.take(places)


def matrix_of(embeddings: Any) -> NDArray[np.float32]:
    """Reads embeddings.

    Args:
        embeddings: (n,) fixed_size_list<float32>[dimension], without nulls.

    Returns:
        (n, dimension) float32.
    """
    values = embeddings.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values.reshape(len(embeddings), embeddings.type.list_size), dtype=np.float32)
