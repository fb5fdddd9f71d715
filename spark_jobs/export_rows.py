"""What is sent of each row of `vectors`: key, text, payload, run, and the embedding as float32."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.conform import quoted
from schemas.errors import InputError
from spark_jobs.export_space import ExportSpace
from spark_jobs.targets import Shape
from udfs.quantization import restored

# They guide runs, and say nothing to whoever searches.
_KEPT_BACK = ("text_hash", "token_count", "truncated")
_MEND = "run embedlake verify --repair, then embedlake embed, then export again"


def sent_columns(space: ExportSpace) -> list[str]:
    """Names the columns that are sent.

    Args:
        space: The space.

    Returns:
        Their names in order, `chunk_id` first and `embedding` last.
    """
    return [name for name in space.vectors.rows.columns if name not in _KEPT_BACK]


def shape_of(space: ExportSpace) -> Shape:
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
    return Shape(f"embedlake {space.name} {space.model_fingerprint}", space.dimension, pa.schema(fields))


def as_sent(batch: pa.RecordBatch, space: ExportSpace, rows: pa.Schema) -> pa.RecordBatch:
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


def _as_type(column: Any, field: "pa.Field[Any]", space: ExportSpace) -> Any:
    try:
        # Spark lets bytes of any kind pass for strings; a target would refuse them in its own words, or keep them.
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"space {space.name} holds strings in column {field.name} that are not UTF-8, which no target takes: mend "
            "the source, such as by make_valid_utf8 in a view"
        ) from error
    return column if column.type == field.type else column.cast(field.type)


def _matrix(stored: Any, space: ExportSpace) -> NDArray[np.float32]:
    values = stored.flatten()
    is_sound = not stored.null_count and not values.null_count
    if not is_sound or (stored.value_lengths().to_numpy() != space.stored_width).any():
        raise InputError(f"space {space.name} holds embeddings that do not have {space.dimension} numbers: {_MEND}")
    numbers = values.to_numpy(zero_copy_only=False).reshape(-1, space.stored_width)
    matrix = restored(numbers, space.precision, space.ranges)
    if not np.isfinite(matrix).all():
        raise InputError(f"space {space.name} holds embeddings with numbers that are not finite: {_MEND}")
    return np.ascontiguousarray(matrix)
