"""What changed in a Delta source since the last finished run, from the table's own change feed."""

import re
from dataclasses import replace

import pyarrow as pa
from pyspark.sql import DataFrame, DataFrameReader, Row, SparkSession
from pyspark.sql import functions as F

from schemas.ledger import LEDGER
from schemas.table import quoted
from spark_jobs.embedding.comparison import COMPARED, MOST_CHANGES, Comparison, as_recorded, compare, hashed_documents
from spark_jobs.embedding.source_reading import SourceReading
from spark_jobs.embedding.store_state import StoreState
from spark_jobs.runtime.held_rows import in_memory
from spark_jobs.runtime.threads import beside
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.source import Source, commit_of
from spark_jobs.store.ledger import has_redo, summarise_ledger
from spark_jobs.store.versions import arrives, newest_changes

# A filter of these words, columns, literals and operators depends on the row alone: an unchanged row stays in or out.
# Functions may read the clock or other tables.
_WORDS = {"and", "or", "not", "in", "is", "null", "like", "between", "true", "false"}
_NEWEST = ("arrives boolean", "text_hash string", "payload_hash string", "characters long", "bytes long")
_CANDIDATE = ", ".join(("doc_id string", "net long", *_NEWEST))
_TOKENS = re.compile(r"'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)+`|[A-Za-z_][A-Za-z0-9_.]*|[^\sA-Za-z_'`]+")


def why_no_feed(store: StoreState, settings: Settings, source: Source, retry_quarantined: bool) -> str | None:
    """Explains why the feed cannot determine a run's work; returns None if it can."""
    before = store.before
    if source.version is None:
        return "the source has no versions"
    if before is None:
        return "no run has finished yet"
    if not store.was_clean:
        return "an earlier run has not finished"
    if not source.has_feed:
        return "the source's change feed is off"
    other = _why_other_source(store.tables.spark, settings.source, source, before)
    if other is not None:
        return other
    if not _depends_on_row_alone(settings.source.filter, source.rows.columns):
        return "source.filter calls functions, which may answer otherwise today"
    if retry_quarantined:
        return "quarantined documents are tried again"
    if store.is_check_due(settings.run.full_check_every):
        return f"every {settings.run.full_check_every} runs everything is read"
    return None


def _why_other_source(spark: SparkSession, settings: SourceSettings, source: Source, before: Row) -> str | None:
    table_id, _, commit = (before.source_id or "").partition(" ")
    if table_id != source.table_id:
        return "the source is another table than the last finished run read"
    if before.source_rule != source.rule:
        return "the settings or types of the source's columns are others than in the last finished run"
    if before.source_version is None or before.source_version > source.version:
        return "the source's version went back"
    if commit_of(spark, settings, source, before.source_version) != commit:
        return f"the source's version {before.source_version} is not the one that the last finished run read"
    return None


def compare_changed(
    store: StoreState, settings: SourceSettings, source: Source, first: int, last: int, reading: SourceReading
) -> Comparison | None:
    """Compares the documents in the change feed with the ledger; reads no other row of the source.

    The ledger tells which ids the source had when the last run finished, and the feed which have come and gone since.
    So both together tell how many rows have an id now. How many rows there are is in Delta's log.

    Args:
        store: The store, whose last run finished.
        settings: Settings of the source.
        source: The opened source.
        first: First version of the feed to include.
        last: Last version to include.
        reading: What other spaces have read of the source.

    Returns:
        The comparison; None if feed, ledger and log contradict each other, or too much has changed. Only a full
        comparison can tell why, and which ids are repeated.
    """
    spark, ledger = store.tables.spark, store.tables.read(LEDGER.name)
    summarised = beside(spark, lambda: (summarise_ledger(ledger), has_redo(ledger)))
    candidates = reading.candidates(source, first, last, lambda: _candidates(spark, settings, source, first, last))
    summary, is_marked = summarised()
    if candidates.num_rows > MOST_CHANGES or is_marked:
        return None
    documents = spark.createDataFrame(candidates, _CANDIDATE)
    known = ledger.join(F.broadcast(documents.select("doc_id")), "doc_id", "left_semi")
    held = in_memory(known.select("doc_id", as_recorded()))
    counted = documents.join(F.broadcast(held), "doc_id", "left").withColumn(
        "n", F.col("net") + F.col("recorded").isNotNull().cast("long")
    )
    fits = F.col("doc_id").isNotNull() & (F.col("n") == F.col("arrives").cast("long"))
    total, contradictions = counted.agg(
        F.coalesce(F.sum("net"), F.lit(0)), F.count_if(~F.coalesce(fits, F.lit(False)))
    ).collect()[0]
    here = summary.documents + int(total)
    if contradictions or (settings.filter is None and here != _rows_in_log(spark, settings, last)):
        return None
    present = counted.where("arrives").withColumn("is_faulty", F.lit(False)).select(*COMPARED)
    found = compare(present, held)
    return replace(found, documents=here, ledger=summary, feed=(first, last))


def _candidates(spark: SparkSession, settings: SourceSettings, source: Source, first: int, last: int) -> pa.Table:
    """Finds each id in the feed, its newest state, and how many rows more than before it has."""
    if first > last:
        return spark.createDataFrame([], _CANDIDATE).toArrow()
    order = {"order": F.struct("_commit_version", arrives().alias("arrives"))}
    rows = hashed_documents(_feed(spark, settings, first, last), settings, source.payload, order)
    newest = F.max_by(F.struct(F.col("order.arrives"), "text_hash", "payload_hash", "characters", "bytes"), "order")
    net = F.sum(F.when(F.col("order.arrives"), 1).otherwise(-1))
    grouped = rows.groupBy("doc_id").agg(net.alias("net"), newest.alias("newest")).select("doc_id", "net", "newest.*")
    return grouped.limit(MOST_CHANGES + 1).toArrow()


def _rows_in_log(spark: SparkSession, settings: SourceSettings, version: int) -> int:
    # Delta answers this without reading a row.
    return _table(settings, _reader(spark, settings).option("versionAsOf", version)).count()


def changed_rows(spark: SparkSession, settings: SourceSettings, first: int, last: int) -> DataFrame:
    """Reads the rows of the library that changed from version `first` to `last`, as they are now."""
    rows = _feed(spark, settings, first, last)
    identity = F.col(quoted(settings.id_name)).cast("string").alias("doc_id")
    # Over Connect, `*` has the columns of the table without those of its change feed.
    row = F.struct(*[F.col(quoted(name)) for name in rows.columns])
    columns = [F.col(f"row.{quoted(name)}").alias(name) for name in rows.columns]
    return newest_changes(rows, identity, row).select(*columns).where(arrives())


def _feed(spark: SparkSession, settings: SourceSettings, first: int, last: int) -> DataFrame:
    reader = _reader(spark, settings).option("readChangeFeed", "true")
    rows = _table(settings, reader.option("startingVersion", first).option("endingVersion", last))
    return rows if settings.filter is None else rows.where(F.expr(settings.filter))


def _reader(spark: SparkSession, settings: SourceSettings) -> DataFrameReader:
    # Of files that are parsed, the options are those of their folder.
    return spark.read.options(**({} if settings.is_parsed else settings.options))


def _table(settings: SourceSettings, reader: DataFrameReader) -> DataFrame:
    return reader.table(settings.table) if settings.table is not None else reader.format("delta").load(settings.path)


def _depends_on_row_alone(expression: str | None, columns: list[str]) -> bool:
    if expression is None:
        return True
    names = {name.lower() for name in columns}
    tokens = _TOKENS.findall(expression)
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        word = token.lower()
        # A function's name may stand in backquotes too.
        if token[0] == "`" and following.startswith("("):
            return False
        if token[0].isalpha() or token[0] == "_":
            is_column = word in names and not following.startswith("(")
            if word not in _WORDS and not is_column:
                return False
    return True
