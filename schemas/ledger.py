"""`ledger`: the state of each document in the source."""

from pyspark.sql.types import IntegerType, LongType, StringType, StructType

from schemas.reasons import REASONS
from schemas.table import Table, column

EMBEDDED = "embedded"
EMPTY = "empty"
QUARANTINED = "quarantined"
# Replaces the text hash in rows marked by a repair. No text has this hash, so the next run redoes the document.
REDO = "to be done again"
LEDGER = Table(
    "ledger",
    "One row for each document of the source: its hashes, its status and what it became",
    StructType(
        [
            column("doc_id", StringType(), "id of the document in the source"),
            column("text_hash", StringType(), "SHA-256 (hex) of the document's composed text"),
            column("payload_hash", StringType(), "SHA-256 (hex) of the document's payload as JSON"),
            column("status", StringType(), f"{EMBEDDED}, {EMPTY} or {QUARANTINED}"),
            column("reason", StringType(), f"why it is quarantined: {', '.join(REASONS)}"),
            column("detail", StringType(), "the reason in words, without any of the text"),
            column("chunk_count", IntegerType(), "rows of the document in vectors"),
            column("token_count", LongType(), "tokens of its chunks, prompt and special tokens included"),
            column("truncated_count", IntegerType(), "chunks of which the model saw only the beginning"),
            column("attempts", IntegerType(), "runs that tried to embed this text"),
            column("source_version", LongType(), "version of the source where it has versions"),
            column("run_id", StringType(), "run that last wrote this row"),
        ]
    ),
)
