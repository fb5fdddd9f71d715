"""What inference hands back: the rows of `staged_vectors`, and beside the first row of a window what it took."""

from pyspark.sql.types import DoubleType, StringType, StructField, StructType

from schemas.precision import OutputPrecision
from schemas.staged_vectors import staged_vectors_table

# Summed over the windows of all tasks; seconds are those of one thread each, so that stages add up to more than a task.
SUMS = (
    "passes",
    "tokens",
    "computed",
    "out_of_memory",
    "retried",
    "read",
    "tokenise",
    "forward",
    "forward_waited",
    "collect",
    "collect_waited",
    "encode",
    "write",
)
# The highest of any task.
PEAKS = ("load_seconds", "token_budget", "peak_mebibytes")
NAMES = ("device", "dtype")
METER = StructType(
    [StructField(name, DoubleType()) for name in (*SUMS, *PEAKS)] + [StructField(name, StringType()) for name in NAMES]
)


def inference_schema(precision: OutputPrecision = "float32") -> StructType:
    """Describes what a worker hands back for each text.

    Args:
        precision: How numbers are stored.

    Returns:
        Columns of `staged_vectors`, and `meter`.
    """
    return StructType([*staged_vectors_table(precision).schema.fields, StructField("meter", METER)])
