"""What is sent of each row of `vectors`: key, text, payload, run, and the embedding as float32."""

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
from spark_jobs.runtime.properties import session_properties
from spark_jobs.store.failpoints import failpoint
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.targets.target import RowFormat, Target
from udfs.quantization import restored

# They guide runs, and say nothing to whoever searches.
_KEPT_BACK = ("text_hash", "token_count", "truncated")
_MEND = "run embedlake verify --repair, then embedlake embed, then export again"

# A chunk id, and what Arrow and Spark put around it.
_ID_BYTES = 64

Batches = Iterator[pa.RecordBatch]
_PACKED = "packed binary"
_PACKED_BYTES = 4 * 2**20
# Of compressed files; what Spark holds of a partition on its way is several times that.
_PARTITION_BYTES = 32 * 2**20
# Spark refuses answers above spark.driver.maxResultSize, 1 GB by default.
_ANSWER_BYTES = 256 * 2**20
_FILES, _SHUFFLES = "spark.sql.files.maxPartitionBytes", "spark.sql.shuffle.partitions"


def sent_columns(space: OpenSpace) -> list[str]:
    """Names the columns that are sent.

    Args:
        space: The space.

    Returns:
        Their names in order, `chunk_id` first and `embedding` last.
    """
    return [name for name in space.vectors.rows.columns if name not in _KEPT_BACK]


def row_format_of(space: OpenSpace) -> RowFormat:
    """Describes the rows that are sent, and whose they are.

    Args:
        space: The space.

    Returns:
        The shape: types as in the table, time stamps in UTC, the embedding as float32 of the model's dimension.

    Raises:
        InputError: A payload column has a type that Arrow does not know.
    """
    names = sent_columns(space)
    rows = space.vectors.rows.select([quoted(name) for name in names[:-1]])
    try:
        # Asked of Spark itself, whose own rule for types this is, whatever its version.
        found = rows.limit(0).toArrow().schema
    except Exception as error:  # PySpark's own, or one of Connect
        raise InputError(
            f"space {space.name} has a payload column of a type that cannot be exported: leave it out of "
            "source.payload_columns, or cast it in a view"
        ) from error
    fields = [pa.field(field.name, _plain(field.type)) for field in found]
    fields.append(pa.field("embedding", pa.list_(pa.float32(), space.dimension)))
    return RowFormat(f"embedlake {space.name} {space.model_fingerprint}", space.dimension, pa.schema(fields))


def as_sent(batch: pa.RecordBatch, space: OpenSpace, rows: pa.Schema) -> pa.RecordBatch:
    """Brings a batch of `vectors` into the form that targets take.

    A space of int8 or binary is sent as `udfs.quantization.restored` gives it back: the middle of each step, or -1 and
    1. That keeps the order of neighbours that the space itself has; the targets need four bytes for each number.

    Args:
        batch: The columns that are sent, as they are stored.
        space: The space.
        rows: Columns of `shape_of`.

    Returns:
        The same rows with these columns.

    Raises:
        InputError: A row lacks its id or a sound embedding, or a text is not UTF-8.
    """
    if batch.column("chunk_id").null_count:
        raise InputError(f"space {space.name} holds rows without chunk_id: {_MEND}")
    columns: list[Any] = [_as_type(batch.column(field.name), field, space) for field in list(rows)[:-1]]
    matrix = _matrix(batch.column("embedding"), space)
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), space.dimension))
    return pa.RecordBatch.from_arrays(columns, schema=rows)


def _plain(kind: pa.DataType) -> pa.DataType:
    # The session decides between types of one meaning; a target must see the same from every session.
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, tz="UTC")
    large: dict[pa.DataType, pa.DataType] = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
    return large.get(kind, kind)


def _as_type(column: Any, field: "pa.Field[Any]", space: OpenSpace) -> Any:
    try:
        # Spark lets bytes of any kind pass for strings; a target would refuse them in its own words, or keep them.
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"space {space.name} holds strings in column {field.name} that are not UTF-8, which no target takes: mend "
            "the source, such as by make_valid_utf8 in a view"
        ) from error
    return column if column.type == field.type else column.cast(field.type)


def _matrix(stored: Any, space: OpenSpace) -> NDArray[np.float32]:
    values = stored.flatten()
    is_sound = not stored.null_count and not values.null_count
    if not is_sound or (stored.value_lengths().to_numpy() != space.stored_width).any():
        raise InputError(f"space {space.name} holds embeddings that do not have {space.dimension} numbers: {_MEND}")
    numbers = values.to_numpy(zero_copy_only=False).reshape(-1, space.stored_width)
    matrix = restored(numbers, space.precision, space.ranges)
    if not np.isfinite(matrix).all():
        raise InputError(f"space {space.name} holds embeddings with numbers that are not finite: {_MEND}")
    return np.ascontiguousarray(matrix)


def send_difference(space: OpenSpace, shape: RowFormat, difference: ExportDifference, target: Target) -> Counter[str]:
    """Sends what a target lacks, and has it take out what it has beyond the table.

    Args:
        space: What is exported.
        shape: What the rows look like.
        difference: What to send and to take out.
        target: Where to; it is prepared.

    Returns:
        Rows `sent` and ids `removed`.
    """
    counts = Counter(sent=0, removed=0)
    if difference.rows is not None:
        target.send(_rows(space, shape, difference.rows, difference.to_send, counts))
    if difference.gone is not None:
        target.remove(_ids(difference.gone, difference.to_remove, counts))
    return counts


def _rows(
    space: OpenSpace, shape: RowFormat, rows: DataFrame, count: int, counts: Counter[str]
) -> Iterator[pa.RecordBatch]:
    wanted = rows.select([F.col(quoted(name)) for name in sent_columns(space)])
    for batch in stream(wanted, "chunk_id", count * space.row_bytes):
        failpoint("export.batch")
        yield as_sent(batch, space, shape.rows)
        counts["sent"] += batch.num_rows


def _ids(gone: DataFrame, count: int, counts: Counter[str]) -> Iterator["pa.Array[Any]"]:
    for batch in stream(gone, "chunk_id", count * _ID_BYTES):
        failpoint("export.batch")
        yield batch.column("chunk_id").cast(pa.string())
        counts["removed"] += batch.num_rows


def stream(rows: DataFrame, key: str, about_bytes: int) -> Iterator[pa.RecordBatch]:
    """Brings rows to the driver in batches of a few megabytes.

    Args:
        rows: The rows; they must be the same however often they are read.
        key: A column whose values differ from row to row.
        about_bytes: What all rows take uncompressed, roughly; nothing but the use of memory depends on it.

    Yields:
        Batches with the columns of `rows`; none where there are no rows.
    """
    answers = max(1, -(-about_bytes // _ANSWER_BYTES)) if _is_connect(rows) else 1
    names = rows.columns
    with _small_partitions(rows.sparkSession, about_bytes):
        for answer in range(answers):
            part = rows if answers == 1 else rows.where(F.pmod(F.xxhash64(key), F.lit(answers)) == answer)
            # PySpark looks columns up by their bare names here, and takes a dot for a field of a struct.
            numbered = part.toDF(*(f"c{number}" for number in range(len(names))))
            for row in numbered.mapInArrow(_packing(_PACKED_BYTES), _PACKED).toLocalIterator(prefetchPartitions=True):
                with pa.ipc.open_stream(pa.py_buffer(row[0])) as reader:
                    for batch in reader:
                        yield batch.rename_columns(names)


def _packing(most_bytes: int) -> Callable[[Batches], Batches]:
    # Defined in here, the function travels by value: workers need none of the driver's modules.
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
    wanted = {_FILES: str(_PARTITION_BYTES)}
    current, partitions = str(spark.conf.get(_SHUFFLES)), -(-about_bytes // _PARTITION_BYTES)
    # Some platforms choose the number themselves, and call that `auto`.
    if current.isdigit() and partitions > int(current):
        wanted[_SHUFFLES] = str(partitions)
    return session_properties(spark, wanted)
