"""What a space holds: documents by status, chunks by length."""

import json

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.ledger import LEDGER
from spark_jobs.page.facts import Contents, Lengths
from spark_jobs.runtime.properties import session_properties
from spark_jobs.settings.loading import Settings
from spark_jobs.store.ledger import summarise_ledger
from spark_jobs.store.properties import for_rows
from spark_jobs.store.tables import SpaceTables, space_tables

_MOST_BINS = 40
# Widths that people can read on an axis.
_WIDTHS = (1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 250, 500)


def read_contents(spark: SparkSession, settings: Settings, row: Row) -> Contents:
    """Counts the documents and chunks of a space.

    Args:
        spark: The live session, with the properties of `delta_session`.
        settings: The configuration, which names the space.
        row: The space's row in the registry.

    Returns:
        Its contents; nothing of tables that a run did not come to make.
    """
    tables = space_tables(spark, settings)
    if not tables.exists(LEDGER.name):
        return Contents({}, {})
    ledger = tables.read(LEDGER.name)
    with session_properties(spark, for_rows(ledger.count())):
        summary = summarise_ledger(ledger)
        reasons = {reason or "unknown": count for reason, count in summary.reasons.items()}
        if not tables.exists("vectors"):
            return Contents(summary.statuses, reasons)
        return _with_chunks(tables, Contents(summary.statuses, reasons), row)


def _with_chunks(tables: SpaceTables, documents: Contents, row: Row) -> Contents:
    vectors = tables.read("vectors")
    totals = vectors.agg(
        F.count(F.lit(1)).alias("chunks"),
        F.count_if("truncated").alias("truncated"),
        F.sum(F.col("token_count").cast("long")).alias("tokens"),
        F.percentile_approx("token_count", [0.5, 0.95, 0.99]).alias("percentiles"),
        F.max("token_count").alias("longest"),
    ).collect()[0]
    if not totals.chunks:
        return documents
    median, p95, p99 = totals.percentiles
    width = bin_width(min(totals.longest, 2 * p99))
    lengths = Lengths(
        width, _counted(vectors, width), median, p95, totals.longest, json.loads(row.model).get("max_tokens")
    )
    return Contents(documents.statuses, documents.reasons, totals.chunks, totals.truncated, totals.tokens or 0, lengths)


def bin_width(longest: int) -> int:
    """Chooses the width of the bins, so that there are at most 40 up to the longest chunk that counts."""
    for width in _WIDTHS:
        if longest // width < _MOST_BINS:
            return width
    return -(-(longest + 1) // (_MOST_BINS * 1000)) * 1000


def _counted(vectors: DataFrame, width: int) -> list[int]:
    place = F.least(F.floor(F.col("token_count") / width), F.lit(_MOST_BINS - 1)).cast("int").alias("place")
    rows = vectors.groupBy(place).agg(F.count(F.lit(1)).alias("chunks")).collect()
    counts = {row.place: row.chunks for row in rows}
    return [counts.get(place, 0) for place in range(max(counts) + 1)]
