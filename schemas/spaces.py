"""`spaces`: the registry of a store, with one row for each space."""

from pyspark.sql.types import BooleanType, IntegerType, StringType, StructType, TimestampType

from schemas.table import Table, column

READY = "ready"
SPACES = Table(
    "spaces",
    "One row for each space: the model and the chunking rule that all of its vectors were made with",
    StructType(
        [
            column("library", StringType(), "library of the space"),
            column("space", StringType(), "name of the space"),
            column("model_fingerprint", StringType(), "hash of everything that decides a vector"),
            column("chunking_fingerprint", StringType(), "hash of the chunking rule"),
            column("model", StringType(), "full description of the model, as JSON"),
            column("chunking", StringType(), "full description of the chunking rule, as JSON"),
            column("dimension", IntegerType(), "numbers of each embedding"),
            column("ranges", StringType(), "lowest and highest value of each number, as JSON, where precision is int8"),
            column("state", StringType(), f"{READY}: open to runs and readers"),
            column("active", BooleanType(), "whether this is the space of its library that readers should use"),
            column("created_at", TimestampType(), "driver's clock when the space was registered"),
        ]
    ),
)
