"""Rows that workers return to the driver: inference with its metrics, partial hits, calibration trials."""

from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from schemas.precision import OutputPrecision
from schemas.staged import inference_fields
from schemas.table import column

# Summed over the windows of all tasks. Each stage counts the seconds of its own thread, so their sum exceeds the task's
# wall-clock time.
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
# The maximum over all tasks.
PEAKS = ("load_seconds", "token_budget", "peak_mebibytes", "torch_rate", "openvino_rate")
# The backend that runs the model, and in words why another was not tried or what happened to the cache of models.
NAMES = ("device", "dtype", "backend", "backend_note")
METER = StructType(
    [StructField(name, DoubleType()) for name in (*SUMS, *PEAKS)] + [StructField(name, StringType()) for name in NAMES]
)
# Summed too, but recorded among the counts of a run: the table of runs keeps METER as it is.
COUNTED = ("clipped",)

# The best hits of one partition; each query is identified by its number.
PARTIAL_HITS = StructType(
    [
        StructField("query", LongType()),
        StructField("score", FloatType()),
        StructField("chunk_id", StringType()),
        StructField("doc_id", StringType()),
    ]
)
RANKED = (
    column("query_id", StringType(), "id of the query"),
    column("rank", IntegerType(), "place of the hit among the query's, from 1"),
    column("score", FloatType(), "dot product of query and chunk; for unit vectors their cosine"),
)

TRIALS = StructType(
    [
        StructField("kind", StringType()),
        StructField("value", LongType()),
        StructField("texts", LongType()),
        StructField("tokens", LongType()),
        StructField("computed", LongType()),
        StructField("seconds", DoubleType()),
        StructField("latencies", ArrayType(DoubleType())),
        StructField("peak_mebibytes", DoubleType()),
        StructField("device", StringType()),
        StructField("dtype", StringType()),
    ]
)


def inference_schema(precision: OutputPrecision = "float32") -> StructType:
    """Describes what inference returns for each text: columns of `staged_vectors`, and `meter`.

    `meter` is null except in the first row of each window, which contains the metrics of the whole window: METER, and
    a sum for each name in COUNTED.
    """
    meter = StructType([*METER.fields, *(StructField(name, DoubleType()) for name in COUNTED)])
    return StructType([*inference_fields(precision), StructField("meter", meter)])
