"""Over how many tasks work is spread, and how many run at the same time."""

import math

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

# Tokens that make a partition worth its fixed cost on a processor: seconds of a small model on one core.
_PARTITION_TOKENS = 50_000
# Once a rate is known: short enough to be spread evenly, long enough for what a task costs beside the model (0.3 s).
_PARTITION_SECONDS = 30
# Before that: a first slice is what slow processors do in ten minutes, which leaves each task a minute or two.
_FIRST_TASKS_A_SLOT = 8
# What one core cuts into chunks, at the least: counting tokens is far less work than embedding them.
CHUNKED_TOKENS_PER_SECOND = 50_000
# So that a huge slice does not drown in tasks.
_MOST_PARTITIONS = 512

# Rows enough for one in each slot of any cluster.
_RANGE = 1 << 20


def partition_count(tokens: int, slots: int = 1, tokens_per_second: float = 0.0) -> int:
    """Chooses how many partitions inference or chunking is spread over.

    Args:
        tokens: Estimated tokens to embed or to cut.
        slots: Tasks that run at the same time, as far as is known.
        tokens_per_second: What all of them do together; 0 before anything was measured.

    Returns:
        At least 1; a multiple of the slots where there is work for more than one round of tasks.

    Example:
        >>> partition_count(30_000, 2), partition_count(250_000, 2), partition_count(10_000_000, 2, 100_000.0)
        (1, 6, 8)
    """
    share = tokens / slots
    wanted = tokens_per_second / slots * _PARTITION_SECONDS if tokens_per_second else share / _FIRST_TASKS_A_SLOT
    size = max(_PARTITION_TOKENS, min(share, wanted))
    count = max(1, math.ceil(tokens / size))
    rounded = -(-count // slots) * slots if count > slots else count
    return min(rounded, max(_MOST_PARTITIONS, slots))


def task_slots(spark: SparkSession) -> int:
    """Counts the tasks that run at the same time.

    Args:
        spark: The live session, classic or Connect.

    Returns:
        Cores of all executors; over Connect, which does not tell, the partitions that Spark cuts a range into.
    """
    if hasattr(spark, "_jsparkSession"):
        return spark.sparkContext.defaultParallelism
    last = spark.range(_RANGE).select(F.spark_partition_id().alias("number")).agg(F.max("number"))
    return int(last.collect()[0][0]) + 1
