"""`exports`: events of exports to targets, append-only; and the table of the ids in a target."""

from typing import Final

from pyspark.sql.types import BooleanType, DoubleType, LongType, MapType, StringType, StructType, TimestampType

from schemas.runs import FINISHED, STARTED
from schemas.table import Table, column

FULL: Final = "full"
INCREMENTAL: Final = "incremental"
COMPARISON: Final = "comparison"
EXPORTS = Table(
    "exports",
    "Events of exports, append-only: started, finished",
    StructType(
        [
            column("library", StringType(), "library that was exported"),
            column("space", StringType(), "space that was exported"),
            column("target", StringType(), "where to, as it may be printed: without credentials"),
            column(
                "export_number", LongType(), "number of the export among those of the library to the target, from 1"
            ),
            column("event", StringType(), f"{STARTED}: rows of the target may have changed since; {FINISHED}"),
            column("event_time", TimestampType(), "driver's clock at the event"),
            column("owner", StringType(), "host, process and a random word: who the export is"),
            column("model_fingerprint", StringType(), "hash of everything that decides a vector"),
            column("table_id", StringType(), "Delta's id of the table vectors"),
            column("vectors_version", LongType(), "version of vectors that was exported"),
            column("had_rows", BooleanType(), "whether the target may have held rows of the space before"),
            column("plan", StringType(), f"{FULL}, {INCREMENTAL} or {COMPARISON}, and why"),
            column("sent", LongType(), "rows sent, new ones and new states of old ones"),
            column("removed", LongType(), "ids of rows that were taken out"),
            column("rows", LongType(), "rows of the target at the end"),
            column("recall", DoubleType(), "share of the 10 nearest that the target's own index finds, over a sample"),
            column("seconds", MapType(StringType(), DoubleType()), "wall-clock seconds by step"),
        ]
    ),
)
HELD_PAIR = StructType(
    [
        column("held_chunk_id", StringType(), "chunk_id of a row that the target holds"),
        column("held_run_id", StringType(), "run_id of that row"),
    ]
)


def held_table(digest: str) -> Table:
    """Describes the table of the rows in one target at its last comparison; empty between exports.

    Args:
        digest: Identifies the target; becomes part of the table's name.

    Returns:
        The table.
    """
    return Table(f"export_held_{digest}", "Rows that a target of exports held, while it is compared", HELD_PAIR)
