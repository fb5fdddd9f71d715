"""Rows and ids on their way to a target, counted as they pass."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.conform import quoted
from spark_jobs.arrow_stream import stream
from spark_jobs.export_difference import Difference
from spark_jobs.export_rows import as_sent, sent_columns
from spark_jobs.export_space import ExportSpace
from spark_jobs.failpoints import failpoint
from spark_jobs.targets import Shape, Target

# A chunk id, and what Arrow and Spark put around it.
_ID_BYTES = 64


def send_difference(space: ExportSpace, shape: Shape, difference: Difference, target: Target) -> Counter[str]:
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
    space: ExportSpace, shape: Shape, rows: DataFrame, count: int, counts: Counter[str]
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
