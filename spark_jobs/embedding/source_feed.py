"""What changed in a Delta source since the last finished run, from the table's own change feed."""

import re

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.ledger import LEDGER, REDO
from schemas.table import quoted
from spark_jobs.embedding.run import Run
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.source import commit_of
from spark_jobs.store.versions import arrives, newest_changes

# A filter of these words, columns, literals and operators depends on the row alone: an unchanged row stays in or out.
# Functions may read the clock or other tables.
_WORDS = {"and", "or", "not", "in", "is", "null", "like", "between", "true", "false"}
_TOKENS = re.compile(r"'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)+`|[A-Za-z_][A-Za-z0-9_.]*|[^\sA-Za-z_'`]+")


def why_no_feed(run: Run, retry_quarantined: bool) -> str | None:
    """Explains why the feed cannot determine this run's work; returns None if it can."""
    source, before = run.preflight.source, run.before
    if source.version is None:
        return "the source has no versions"
    if before is None:
        return "no run has finished yet"
    if not source.has_feed:
        return "the source's change feed is off"
    other = _why_other_source(run, before)
    if other is not None:
        return other
    if not _depends_on_row_alone(run.settings.source.filter, source.rows.columns):
        return "source.filter calls functions, which may answer otherwise today"
    if retry_quarantined:
        return "quarantined documents are tried again"
    if not run.tables.read(LEDGER.name).where(F.col("text_hash") == REDO).isEmpty():
        return "a repair marked documents to be done again"
    return None


def _why_other_source(run: Run, before: Row) -> str | None:
    source = run.preflight.source
    table_id, _, commit = (before.source_id or "").partition(" ")
    if table_id != source.table_id:
        return "the source is another table than the last finished run read"
    if before.source_rule != source.rule:
        return "the settings or types of the source's columns are others than in the last finished run"
    if before.source_version is None or before.source_version > source.version:
        return "the source's version went back"
    if commit_of(run.tables.spark, run.settings.source, source, before.source_version) != commit:
        return f"the source's version {before.source_version} is not the one that the last finished run read"
    return None


def changed_rows(spark: SparkSession, settings: SourceSettings, first: int, last: int) -> tuple[DataFrame, DataFrame]:
    """Reads the documents in the change feed from version `first` to `last`, each in its latest state.

    Args:
        spark: A live session.
        settings: Format, location, columns and filter of the source.
        first: First version to include.
        last: Last version to include.

    Returns:
        Source rows that are in the library now, and the ids (`doc_id`) of documents that no longer are.
    """
    reader = spark.read.options(**settings.options).option("readChangeFeed", "true")
    reader = reader.option("startingVersion", first).option("endingVersion", last)
    rows = (
        reader.table(settings.table or "") if settings.format == "table" else reader.format("delta").load(settings.path)
    )
    if settings.filter is not None:
        rows = rows.where(F.expr(settings.filter))
    identity = F.col(quoted(settings.id_name)).cast("string").alias("doc_id")
    columns = [F.col(f"row.{quoted(name)}").alias(name) for name in rows.columns]
    ends = newest_changes(rows, identity, F.struct("*")).select(*columns)
    return ends.where(arrives()), ends.where(~arrives()).select(identity)


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
