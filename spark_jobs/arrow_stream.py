"""Rows of any DataFrame as Arrow batches on the driver, a few at a time.

`DataFrame.toArrow` brings all rows at once, and `toLocalIterator` makes each number of a vector a Python object. Here
workers pack batches of rows into single values, and these come one after the other: on a classic session partition by
partition, each fetched while the one before it is consumed. A Connect server gathers an answer before it sends it, so
there rows are asked for in several answers of bounded size, each of which reads the source once more.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.session_properties import session_properties

Batches = Iterator[pa.RecordBatch]

_PACKED = "packed binary"
_PACKED_BYTES = 4 * 2**20
# Of compressed files; what Spark holds of a partition on its way is several times that.
_PARTITION_BYTES = 32 * 2**20
# Spark refuses answers above spark.driver.maxResultSize, 1 GB by default.
_ANSWER_BYTES = 256 * 2**20
_FILES, _SHUFFLES = "spark.sql.files.maxPartitionBytes", "spark.sql.shuffle.partitions"


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
