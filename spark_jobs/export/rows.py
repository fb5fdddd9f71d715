"""The rows that are sent: which columns of `vectors`, in which format, and how they reach the target."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.table import quoted
from spark_jobs.export.difference import ExportDifference
from spark_jobs.export.log import owner_of
from spark_jobs.runtime.properties import read_property, session_properties
from spark_jobs.store.failpoints import failpoint
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.targets.target import RowFormat, Target
from udfs.quantization import restored

# Runs need them, searches do not.
_NOT_SENT = ("text_hash", "token_count", "truncated")
_REMEDY = "Run embedlake verify --repair, then embedlake embed, then export again."

# A chunk id, with the overhead of Arrow and Spark.
_ID_BYTES = 64

Batches = Iterator[pa.RecordBatch]
_PACKED = "packed binary"
_PACKED_BYTES = 4 * 2**20
# Size of compressed files; Spark holds several times as much of a partition in transit.
_PARTITION_BYTES = 32 * 2**20
# Spark refuses results above spark.driver.maxResultSize, 1 GB by default.
_ANSWER_BYTES = 256 * 2**20
_FILES, _SHUFFLES = "spark.sql.files.maxPartitionBytes", "spark.sql.shuffle.partitions"


def sent_columns(space: OpenSpace) -> list[str]:
    """Names the columns that are sent, in order: `chunk_id` first and `embedding` last."""
    return [name for name in space.vectors.rows.columns if name not in _NOT_SENT]


def row_format_of(space: OpenSpace) -> RowFormat:
    """Describes the rows that are sent, and their owner.

    Types are as in the table, timestamps in UTC, and the embedding is float32 of the model's dimension. Raises
    InputError if Arrow does not know the type of a payload column.
    """
    names = sent_columns(space)
    rows = space.vectors.rows.select([quoted(name) for name in names[:-1]])
    try:
        # Spark itself converts the types, by the rules of its version.
        schema = rows.limit(0).toArrow().schema
    except Exception as error:  # raised by PySpark itself or by Connect
        raise InputError(
            f"space {space.name} has a payload column of a type that cannot be exported. Remove it from "
            "source.payload_columns, or cast it in a view."
        ) from error
    fields = [pa.field(field.name, _plain(field.type)) for field in schema]
    fields.append(pa.field("embedding", pa.list_(pa.float32(), space.dimension)))
    return RowFormat(
        owner_of(space.name, space.model_fingerprint), space.dimension, pa.schema(fields), space.vectors.table_id
    )


def as_sent(batch: pa.RecordBatch, space: OpenSpace, rows: pa.Schema) -> pa.RecordBatch:
    """Converts a batch of `vectors` to the row format of the export.

    int8 and binary embeddings are sent as `udfs.quantization.restored` returns them: the middle of each step, or -1
    and 1. That preserves the space's order of neighbors; in the target each number takes four bytes.

    Args:
        batch: The columns to send, as they are stored.
        space: The space.
        rows: Columns of `row_format_of`.

    Returns:
        The same rows with these columns.

    Raises:
        InputError: A row has no id or no valid embedding, or a text is not UTF-8.
    """
    if batch.column("chunk_id").null_count:
        raise InputError(f"space {space.name} has rows without chunk_id. {_REMEDY}")
    columns: list[Any] = [_as_type(batch.column(field.name), field, space) for field in list(rows)[:-1]]
    matrix = _matrix(batch.column("embedding"), space)
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), space.dimension))
    return pa.RecordBatch.from_arrays(columns, schema=rows)


def _plain(kind: pa.DataType) -> pa.DataType:
    # Equivalent types depend on the session, and a target must see the same ones from every session.
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, tz="UTC")
    large: dict[pa.DataType, pa.DataType] = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
    return large.get(kind, kind)


def _as_type(column: Any, field: "pa.Field[Any]", space: OpenSpace) -> Any:
    try:
        # Spark accepts any bytes as strings; a target would refuse them with its own message, or keep them.
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"space {space.name} has strings in column {field.name} that are not UTF-8, which no target accepts. Fix "
            "the source, such as with make_valid_utf8 in a view."
        ) from error
    return column if column.type == field.type else column.cast(field.type)


def _matrix(stored: Any, space: OpenSpace) -> NDArray[np.float32]:
    values = stored.flatten()
    has_nulls = stored.null_count or values.null_count
    if has_nulls or (stored.value_lengths().to_numpy() != space.stored_width).any():
        raise InputError(f"space {space.name} has embeddings that do not have {space.dimension} numbers. {_REMEDY}")
    numbers = values.to_numpy(zero_copy_only=False).reshape(-1, space.stored_width)
    matrix = restored(numbers, space.precision, space.ranges)
    if not np.isfinite(matrix).all():
        raise InputError(f"space {space.name} has embeddings with numbers that are not finite. {_REMEDY}")
    return np.ascontiguousarray(matrix)


def send_difference(
    space: OpenSpace, row_format: RowFormat, difference: ExportDifference, target: Target
) -> Counter[str]:
    """Sends and removes rows until a prepared target has what the table has; returns the counts of both."""
    counts = Counter(sent=0, removed=0)
    if difference.rows is not None:
        target.send(_rows(space, row_format, difference.rows, difference.to_send, counts))
    if difference.removed_ids is not None:
        target.remove(_ids(difference.removed_ids, difference.to_remove, counts))
    return counts


def _rows(
    space: OpenSpace, row_format: RowFormat, rows: DataFrame, count: int, counts: Counter[str]
) -> Iterator[pa.RecordBatch]:
    columns = rows.select([F.col(quoted(name)) for name in sent_columns(space)])
    for batch in stream(columns, "chunk_id", count * space.row_bytes):
        failpoint("export.batch")
        yield as_sent(batch, space, row_format.rows)
        counts["sent"] += batch.num_rows


def _ids(ids: DataFrame, count: int, counts: Counter[str]) -> Iterator["pa.Array[Any]"]:
    for batch in stream(ids, "chunk_id", count * _ID_BYTES):
        failpoint("export.batch")
        yield batch.column("chunk_id").cast(pa.string())
        counts["removed"] += batch.num_rows


def stream(rows: DataFrame, key: str, about_bytes: int) -> Iterator[pa.RecordBatch]:
    """Streams rows to the driver in batches of a few megabytes.

    Args:
        rows: The rows, which must be the same each time they are read.
        key: A column with a different value in each row.
        about_bytes: Approximate uncompressed size of all rows; only the use of memory depends on it.

    Yields:
        Batches with the columns of `rows`; none if there are no rows.
    """
    parts = max(1, -(-about_bytes // _ANSWER_BYTES)) if _is_connect(rows) else 1
    names = rows.columns
    with _small_partitions(rows.sparkSession, about_bytes):
        for number in range(parts):
            part = rows if parts == 1 else rows.where(F.pmod(F.xxhash64(key), F.lit(parts)) == number)
            # PySpark looks up columns by their bare names here, and mistakes a dot for a field of a struct.
            numbered = part.toDF(*(f"c{position}" for position in range(len(names))))
            for row in numbered.mapInArrow(_packing(_PACKED_BYTES), _PACKED).toLocalIterator(prefetchPartitions=True):
                with pa.ipc.open_stream(pa.py_buffer(row[0])) as reader:
                    for batch in reader:
                        yield batch.rename_columns(names)


def _packing(most_bytes: int) -> Callable[[Batches], Batches]:
    # A nested function is pickled by value, so workers need none of the driver's modules.
    def pack(batches: Batches) -> Batches:
        for batch in batches:
            size = max(1, min(batch.num_rows, batch.num_rows * most_bytes // max(1, batch.nbytes)))
            for start in range(0, batch.num_rows, size):
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch.slice(start, size))
                packed = pa.array([sink.getvalue().to_pybytes()], pa.binary())
                yield pa.RecordBatch.from_arrays([packed], names=["packed"])

    return pack


def _is_connect(rows: DataFrame) -> bool:
    return type(rows).__module__.startswith("pyspark.sql.connect")


def _small_partitions(spark: SparkSession, about_bytes: int) -> AbstractContextManager[bool]:
    properties = {_FILES: str(_PARTITION_BYTES)}
    current, partitions = read_property(spark, _SHUFFLES) or "", -(-about_bytes // _PARTITION_BYTES)
    # On some platforms it is `auto`.
    if current.isdigit() and partitions > int(current):
        properties[_SHUFFLES] = str(partitions)
    return session_properties(spark, properties)
