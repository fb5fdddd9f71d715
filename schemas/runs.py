"""`runs`: events of all runs in a store, append-only."""

from pyspark.sql.types import DoubleType, IntegerType, LongType, MapType, StringType, StructType, TimestampType

from schemas.table import Table, column
from schemas.worker_rows import METER

STARTED = "started"
AT_WORK = "at work"
SLICE_COMMITTED = "slice committed"
FINISHED = "finished"
FAILED = "failed"
STOPPED = "stopped"
CAPPED = "capped"
MAINTENANCE_STARTED = "maintenance started"
MAINTENANCE_ENDED = "maintenance ended"
ENDS = (FINISHED, FAILED, STOPPED, CAPPED, MAINTENANCE_ENDED)
# In the counts of a maintenance: 1 if every run before it had finished, which its own end does not change.
WAS_CLEAN = "was_clean"
RUNS = Table(
    "runs",
    "Events of runs and of maintenance, append-only",
    StructType(
        [
            column("library", StringType(), "library of the run"),
            column("space", StringType(), "space of the run"),
            column("run_number", LongType(), "number of the run in its space, from 1"),
            column("run_id", StringType(), "library, space and run number in one word"),
            column(
                "event",
                StringType(),
                "started, at work, slice committed, finished, failed, stopped, capped, maintenance",
            ),
            column("event_time", TimestampType(), "driver's clock at the event"),
            column("owner", StringType(), "host, process and a random word: who the run is"),
            column("slice_number", IntegerType(), "slice that was committed, from 1"),
            column("model_fingerprint", StringType(), "hash of everything that decides a vector"),
            column("chunking_fingerprint", StringType(), "hash of the chunking rule"),
            column("source_version", LongType(), "version of the source where it has versions"),
            column(
                "source_id", StringType(), "Delta's id of the source table, and a digest of the commit that was read"
            ),
            column("source_rule", StringType(), "hash of the settings that turn source rows into documents"),
            column("plan", StringType(), "how the work was found: by the change feed, or by comparison and why"),
            column("counts", MapType(StringType(), LongType()), "documents by change and status, chunks, tokens"),
            column("seconds", MapType(StringType(), DoubleType()), "wall-clock seconds by step"),
            column("inference", METER, "how the model ran, summed over all tasks: tokens, passes, seconds, device"),
            column("versions", MapType(StringType(), StringType()), "versions of embedlake, Python and packages"),
            column("message", StringType(), "what went wrong, without any text of a document"),
        ]
    ),
)
