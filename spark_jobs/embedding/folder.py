"""The folder of a library whose files are parsed, beside the table `documents` that a run of it reads."""

from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.documents import DOCUMENTS
from schemas.errors import InputError
from schemas.plan import ADDED, CHANGED, REMOVED
from spark_jobs.embedding.comparison import Comparison
from spark_jobs.embedding.documents import CHARACTERS_PER_TOKEN
from spark_jobs.embedding.forecast import TextLengths
from spark_jobs.embedding.slicing import guard_removals
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources import file_changes
from spark_jobs.sources.file_changes import FILE_CHANGES, ParserVersion, compare_files
from spark_jobs.sources.listing import FolderListing, list_documents
from spark_jobs.sources.source import Source
from spark_jobs.store.registry import read_registry
from spark_jobs.store.tables import SpaceTables, space_tables
from spark_jobs.store.versions import read_pinned
from udfs.parse_files import check_parser
from udfs.parsing import parse

# Where nothing like a file has been parsed yet.
_CHARACTERS_A_BYTE = 0.25
_READ = tuple(change for change in FILE_CHANGES if change != file_changes.GONE)
_DOCUMENT_CHANGES = {file_changes.NEW: ADDED, file_changes.CHANGED: CHANGED, file_changes.GONE: REMOVED}
_WORDS = {
    file_changes.NEW: "new",
    file_changes.CHANGED: "changed",
    file_changes.OUTDATED: "for another parser or limit",
    file_changes.UNSURE: "to be sure",
}


@dataclass(frozen=True)
class FileCounts:
    """How a folder differs from the files that were parsed.

    Attributes:
        files: Files in the folder.
        known: Files in the table.
        by_change: Files by change, all of `FILE_CHANGES`.
        bytes: Size of those that have to be read.
    """

    files: int
    known: int
    by_change: dict[str, int]
    bytes: int

    @property
    def to_read(self) -> int:
        """Files that have to be read."""
        return sum(self.by_change[change] for change in _READ)

    @property
    def differ(self) -> bool:
        """Whether the table has to change, or may have to."""
        return any(self.by_change.values())

    def __str__(self) -> str:
        """Renders the counts in one line."""
        parts = [f"{self.files:,} in the folder"]
        if self.to_read:
            why = ", ".join(f"{self.by_change[name]:,} {word}" for name, word in _WORDS.items() if self.by_change[name])
            parts.append(f"{self.to_read:,} to read ({why}; {self.bytes / 1e6:,.1f} MB)")
        if self.by_change[file_changes.GONE]:
            parts.append(f"{self.by_change[file_changes.GONE]:,} gone")
        return " · ".join(parts if len(parts) > 1 else [*parts, "none differs"])


@dataclass(frozen=True)
class Folder:
    """A folder as a run found it.

    Attributes:
        listing: Its files.
        known: Rows of `documents` at the version that the run found; none if there was no table.
        parser: What decides the text of a file beside its bytes.
        changes: Rows of `compare_files` that differ.
        counts: How many.
    """

    listing: FolderListing
    known: DataFrame
    parser: ParserVersion
    changes: DataFrame
    counts: FileCounts

    def told(self, source: Source) -> Source:
        """Returns the table of parsed files as a source, with what is to be said of the folder, and its time."""
        return replace(source, notes=(*source.notes, *self.listing.notes), opened_at=self.listing.seen_at)


def with_parsed(spark: SparkSession, settings: Settings) -> Settings:
    """Names the table of parsed files as the source of a library whose files are parsed.

    Args:
        spark: A live session.
        settings: The whole configuration.

    Returns:
        The same settings for any other source, and where nothing has been parsed yet.
    """
    if not settings.source.is_parsed:
        return settings
    tables = space_tables(spark, settings)
    name = tables.name(DOCUMENTS.name) if tables.exists(DOCUMENTS.name) else None
    return settings.model_copy(update={"source": settings.source.model_copy(update={"table": name})})


def with_texts(spark: SparkSession, settings: Settings) -> Settings:
    """Names the table of parsed files as the source, for those who only want texts: of another space, if need be.

    Args:
        spark: A live session.
        settings: The whole configuration.

    Returns:
        The same settings for any other source.

    Raises:
        InputError: Nothing has been parsed yet.
    """
    found = with_parsed(spark, settings)
    if not settings.source.is_parsed or found.source.table is not None:
        return found
    active = read_registry(spark, settings).active
    if active is not None and active.space != settings.space:
        name = with_parsed(spark, settings.model_copy(update={"space": active.space})).source.table
        if name is not None:
            return settings.model_copy(update={"source": settings.source.model_copy(update={"table": name})})
    raise InputError("no file of the source has been parsed yet, so there is no text. Run embedlake embed first.")


def look_at_folder(
    spark: SparkSession,
    settings: Settings,
    source: Source | None,
    listing: FolderListing | None = None,
    retries: bool = False,
) -> Folder:
    """Lists a folder and compares it with the files that were parsed; reads none of them.

    Args:
        spark: A live session.
        settings: The whole configuration, as `with_parsed` returns it.
        source: The table of parsed files, pinned; None if it cannot be opened.
        listing: The folder's files if it was listed before.
        retries: Whether to try files again that could not be parsed.

    Returns:
        The folder.

    Raises:
        InputError: It cannot be listed, or files in it could not be read.
    """
    listing = listing or list_documents(spark, settings.source)
    known = _known(space_tables(spark, settings), source)
    parser = parser_version(settings.source)
    rows = compare_files(listing.rows, known, parser, settings.source.track == "compare", retries)
    return Folder(listing, known, parser, rows.where(F.col("change").isNotNull()), _counts(rows))


def parser_version(source: SourceSettings) -> ParserVersion:
    """Describes the parser of this process under the limits of the settings."""
    parse.need_packages()
    return ParserVersion(parse.PARSER_VERSION, f"{source.parse_seconds:g} s and {source.parse_megabytes} MB a file")


def _known(tables: SpaceTables, source: Source | None) -> DataFrame:
    if source is None or source.version is None:
        return tables.spark.createDataFrame([], DOCUMENTS.schema)
    return read_pinned(tables, DOCUMENTS.name, source.version)


def _counts(rows: DataFrame) -> FileCounts:
    change = F.col("change")
    is_listed = F.coalesce(change != file_changes.GONE, F.lit(True))
    found = rows.agg(
        F.count_if(is_listed).alias("files"),
        F.count("known_size").alias("known"),
        F.coalesce(F.sum(F.when(change.isin(*_READ), F.col("size"))), F.lit(0)).alias("bytes"),
        *(F.count_if(change == name).alias(name) for name in FILE_CHANGES),
    ).collect()[0]
    return FileCounts(found.files, found.known, {name: found[name] for name in FILE_CHANGES}, found.bytes)


def check_files(settings: Settings, counts: FileCounts, is_new: bool) -> None:
    """Refuses a folder that has lost more files than the settings allow, or that has none and never had.

    Args:
        settings: The whole configuration.
        counts: How it differs from the files that were parsed.
        is_new: Whether the space has never been embedded.

    Raises:
        InputError: It is refused. Nothing of what was parsed is removed.
    """
    if not counts.files and is_new:
        raise InputError("the source has no documents. Check source.path and source.options.")
    gone = counts.by_change[file_changes.GONE]
    # A file of known size that is there under another name is gone and new.
    guard_removals(gone, counts.known, counts.files, settings.run.max_removed_fraction)


def example_files(folder: Folder, number: int) -> dict[str, list[str]]:
    """Returns the first few paths of new, changed and gone files, by the change of their documents."""
    found = {}
    for kind, change in _DOCUMENT_CHANGES.items():
        rows = folder.changes.where(F.col("change") == kind).select("path").orderBy("path").limit(number)
        if folder.counts.by_change[kind]:
            found[change] = [row.path for row in rows.collect()]
    return found


def require_parser(spark: SparkSession, folder: Folder) -> None:
    """Refuses a run whose workers lack the parser of this process; asks one of them, before anything is written."""
    if folder.counts.to_read:
        spark.range(1).mapInArrow(check_parser(folder.parser.version), "id long").collect()


def with_files(found: Comparison, folder: Folder | None) -> Comparison:
    """Adds to a comparison what a run would find once it has read the files that differ.

    How many characters a file has is estimated from its size, by the files of its kind that were parsed.

    Args:
        found: How the table of parsed files and the ledger differ.
        folder: How the folder and that table differ; None for sources that are not parsed.

    Returns:
        Both together.
    """
    if folder is None or not folder.counts.differ:
        return found
    number = folder.counts.by_change
    new, changed = _characters(folder)
    more = {change: number[kind] for kind, change in _DOCUMENT_CHANGES.items()}
    lengths = found.lengths
    return replace(
        found,
        documents=found.documents + more[ADDED] - more[REMOVED],
        by_change={change: count + more.get(change, 0) for change, count in found.by_change.items()},
        tokens=found.tokens + (new + changed) // CHARACTERS_PER_TOKEN,
        lengths=TextLengths(lengths.whole + new + changed, lengths.changed + changed, lengths.kept),
        changes=None if any(more.values()) else found.changes,
        how=f"{found.how} · files estimated by their sizes",
    )


def _characters(folder: Folder) -> tuple[int, int]:
    """Estimates the characters of new and of changed files."""
    sizes = [F.sum("characters").alias("characters"), F.sum("size").alias("bytes")]
    # Not by the text itself, which would be read for it.
    parsed = folder.known.where(F.col("characters").isNotNull())
    whole = parsed.agg(*sizes).collect()[0]
    usual = whole.characters / whole.bytes if whole.bytes else _CHARACTERS_A_BYTE
    by_kind = parsed.groupBy(_kind().alias("kind")).agg(*sizes)
    ratio = F.coalesce(F.try_divide("characters", "bytes"), F.lit(usual))
    rows = folder.changes.where(F.col("change").isin(file_changes.NEW, file_changes.CHANGED))
    guessed = rows.select("change", F.col("size"), _kind().alias("kind")).join(by_kind, "kind", "left")
    per_change = [
        F.sum(F.when(F.col("change") == name, F.col("size") * ratio))
        for name in (file_changes.NEW, file_changes.CHANGED)
    ]
    new, changed = guessed.agg(*per_change).collect()[0]
    return int(new or 0), int(changed or 0)


def _kind() -> Column:
    """The last part of a file's name, in lower case; empty if it has none."""
    return F.lower(F.regexp_extract("path", r"\.([A-Za-z0-9]{1,8})$", 1))
