"""`spaces`: the registry of a store, append-only: the newest row of a space says what it is."""

from pyspark.sql.types import (
    BooleanType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
)

from schemas.table import Table, column

# States. `building` is derived from the record of runs.
BUILDING = "building"
READY = "ready"
ACTIVE = "active"
RETIRED = "retired"
DROPPED = "dropped"

# Changes.
REGISTERED = "registered"
PROMOTED = "promoted"
ROLLED_BACK = "rolled back"
REPLACED = "replaced"
REFUSED = "refused"

SPACES = Table(
    "spaces",
    "Changes of spaces, append-only: the model and the chunking rule that all vectors of a space were made with, and "
    "which space of its library readers use. The row with the highest number says what a space is now.",
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
            column("state", StringType(), f"{READY} for runs and promotion, {ACTIVE}, {RETIRED} or {DROPPED}"),
            column("active", BooleanType(), "whether this is the space of its library that readers should use"),
            column("created_at", TimestampType(), "driver's clock when the space was registered"),
            column("number", LongType(), "number of the change among those of the library, from 1"),
            column(
                "change",
                StringType(),
                f"{REGISTERED}, {PROMOTED}, {ROLLED_BACK}, {REPLACED} by another active space, {REFUSED} by the gate, "
                f"{DROPPED}",
            ),
            column("changed_at", TimestampType(), "driver's clock at the change"),
            column("changed_by", StringType(), "host, process and a random word: who made the change"),
            column("reason", StringType(), "why a promotion was forced or refused"),
            column("figures", MapType(StringType(), DoubleType()), "what a promotion was decided by"),
        ]
    ),
)
