"""How many tasks to spread work over, and how many run at the same time."""

import math

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

# Tokens that make a partition worth its fixed cost on a processor: seconds of a small model on one core.
_PARTITION_TOKENS = 50_000
# Once a rate is known: short enough to spread work evenly, long enough for the fixed cost of a task (0.3 s).
_PARTITION_SECONDS = 30
# Before that: slow processors take ten minutes over a first slice, which leaves each task a minute or two.
_FIRST_TASKS_A_SLOT = 8
# Minimum rate at which one core cuts chunks: counting tokens is far less work than embedding them.
CHUNKED_TOKENS_PER_SECOND = 50_000
# Keeps a huge slice from being split into too many tasks.
_MOST_PARTITIONS = 512

# Enough rows for one in each slot of any cluster.
_RANGE = 1 << 20


def partition_count(tokens: int, slots: int = 1, tokens_per_second: float = 0.0) -> int:
    """Chooses how many partitions to spread inference or chunking over.

    Args:
        tokens: Estimated tokens to embed or to cut.
        slots: Tasks that run at the same time, if known.
        tokens_per_second: Rate of all tasks together; 0 until it is measured.

    Returns:
        1 or more; a multiple of the slots if there is work for more than one round of tasks.

    Example:
        >>> partition_count(30_000, 2), partition_count(250_000, 2), partition_count(10_000_000, 2, 100_000.0)
        (1, 6, 8)
    """
    share = tokens / slots
    aim = tokens_per_second / slots * _PARTITION_SECONDS if tokens_per_second else share / _FIRST_TASKS_A_SLOT
    size = max(_PARTITION_TOKENS, min(share, aim))
    count = max(1, math.ceil(tokens / size))
    rounded = -(-count // slots) * slots if count > slots else count
    return min(rounded, max(_MOST_PARTITIONS, slots))


def task_slots(spark: SparkSession) -> int:
    """Counts the tasks that run at the same time.

    These are the cores of all executors. Connect does not report them, so there the partitions of a range are counted.
    """
    if hasattr(spark, "_jsparkSession"):
        return spark.sparkContext.defaultParallelism
    last = spark.range(_RANGE).select(F.spark_partition_id().alias("number")).agg(F.max("number"))
    return int(last.collect()[0][0]) + 1
