"""Which files of a folder have to be read again: a listing compared with what was parsed; DataFrames in and out."""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.documents import LISTED
from schemas.reasons import PARSER_TIMEOUT, TOO_LARGE, UNPARSABLE

NEW = "new"
CHANGED = "changed"
# Written so late that a change after it was read need not show.
UNSURE = "unsure"
# Parsed by another version, or refused under other limits.
OUTDATED = "outdated"
GONE = "gone"
FILE_CHANGES = (NEW, CHANGED, UNSURE, OUTDATED, GONE)
# Files that were refused for a limit are tried again under another one.
LIMITED = (TOO_LARGE, PARSER_TIMEOUT)
_RETRIED = (PARSER_TIMEOUT, UNPARSABLE)


@dataclass(frozen=True)
class ParserVersion:
    """What decides the text of a file beside its bytes.

    Attributes:
        version: Version of the parser.
        limits: Its limits in words, which decide only what they refuse.
    """

    version: str
    limits: str

    @property
    def limited(self) -> str:
        """What the table has as the parser of a file that was refused for a limit."""
        return f"{self.version}, {self.limits}"


def compare_files(
    listed: DataFrame, known: DataFrame, parser: ParserVersion, reads_all: bool = False, retries: bool = False
) -> DataFrame:
    """Compares a listing with the files that were parsed.

    Args:
        listed: Columns `schemas.documents.LISTED`.
        known: Rows of `documents`.
        parser: The parser as it is now.
        reads_all: Whether to read files that look unchanged too.
        retries: Whether to try files again that could not be parsed.

    Returns:
        Columns `schemas.documents.LISTED`, known_size and `change`: one of `FILE_CHANGES`, null for files that need not
        be read.
    """
    recorded = known.select(
        "path",
        F.struct("size", "modified", "is_racy", "parser", F.col("_refused.reason").alias("reason")).alias("known"),
    )
    rows = listed.withColumn("is_listed", F.lit(True)).join(recorded, "path", "full_outer")
    known_size = F.col("known.size").alias("known_size")
    return rows.select(*LISTED.names, known_size, _change(parser, reads_all, retries))


def _change(parser: ParserVersion, reads_all: bool, retries: bool) -> Column:
    differs = (F.col("size") != F.col("known.size")) | (F.col("modified") != F.col("known.modified"))
    is_current = F.col("known.parser").isin(parser.version, parser.limited)
    is_retried = F.coalesce(F.col("known.reason").isin(*_RETRIED), F.lit(False)) & F.lit(retries)
    return (
        F.when(F.col("is_listed").isNull(), GONE)
        .when(F.col("known").isNull(), NEW)
        .when(F.coalesce(differs, F.lit(True)), CHANGED)
        .when(~F.coalesce(is_current, F.lit(False)) | is_retried, OUTDATED)
        .when(F.coalesce("known.is_racy", F.lit(True)) | F.lit(reads_all), UNSURE)
        .alias("change")
    )
