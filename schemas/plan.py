"""`plan`: the documents that a run has to process, fixed for the duration of the run."""

from collections.abc import Sequence

from pyspark.sql.types import BooleanType, IntegerType, LongType, StringType, StructField, StructType

from schemas.table import Table, column

ADDED = "added"
CHANGED = "changed"
RETRY = "retry"
PAYLOAD = "payload"
REMOVED = "removed"
UNCHANGED = "unchanged"
CHANGES = (ADDED, CHANGED, RETRY, PAYLOAD, REMOVED)
# Changes that send the text to the model.
TRIED = (ADDED, CHANGED, RETRY)
# The words for each change in the run summary.
CHANGE_WORDS = {
    ADDED: "added",
    CHANGED: "changed",
    RETRY: "tried again",
    PAYLOAD: "with new payload only",
    REMOVED: "removed",
    UNCHANGED: "unchanged",
}

# Reason (one of `schemas.reasons`) and detail.
REFUSED = StructType([StructField("reason", StringType()), StructField("detail", StringType())])


def plan_table(payload: Sequence[StructField] = ()) -> Table:
    """Describes the plan of one space: one row for each document that differs from the ledger.

    Args:
        payload: The source's payload columns. They share one struct column, so their names cannot clash.

    Returns:
        The table.
    """
    fields = [
        column("slice_key", IntegerType(), "hash of doc_id; slices are ranges of it"),
        column("doc_id", StringType(), "id of the document in the source"),
        column("change", StringType(), f"how it differs from the ledger: {', '.join(CHANGES)}"),
        column("text_hash", StringType(), "SHA-256 (hex) of the document's composed text"),
        column("payload_hash", StringType(), "SHA-256 (hex) of the document's payload as JSON"),
        column("estimated_tokens", LongType(), "characters / 4 of text to embed; 0 where nothing is to be embedded"),
        column("stored_chunks", IntegerType(), "rows of the document in vectors, as the ledger counts them"),
        column("payload_changed", BooleanType(), "whether stored chunks may carry another payload"),
        column("attempts", IntegerType(), "earlier runs that tried to embed this very text"),
        *([column("payload", StructType(list(payload)), "payload columns of the source")] if payload else []),
        column("refused", REFUSED, "why the text cannot be embedded, found before a worker saw it"),
        column("context", StringType(), "title and other columns for the context of each chunk; null for none"),
        column("text", StringType(), "composed text to embed; null where it is refused"),
    ]
    what = "Documents of the source that the run in progress has to work on"
    return Table("plan", what, StructType(fields), frozenset(["payload"]))
