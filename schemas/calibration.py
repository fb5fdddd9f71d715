"""What a calibration hands back: one row for each size and round."""

from pyspark.sql.types import ArrayType, DoubleType, LongType, StringType, StructField, StructType

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
