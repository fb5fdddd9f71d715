"""The step of a run that brings the table of parsed files in step with their folder."""

import json
import math
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.documents import DOCUMENTS, PARSED
from schemas.errors import InputError
from schemas.reasons import MAX_BYTES
from spark_jobs.embedding.folder import FileCounts, Folder, look_at_folder, with_parsed
from spark_jobs.embedding.merging import merge_documents
from spark_jobs.embedding.run import Run, check_still_ours
from spark_jobs.embedding.tally import Tally
from spark_jobs.runtime.held_rows import in_memory
from spark_jobs.runtime.parallelism import task_slots
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.properties import session_properties
from spark_jobs.runtime.spark_errors import reading
from spark_jobs.settings.sections import split_path
from spark_jobs.sources.file_changes import GONE, LIMITED
from spark_jobs.sources.files import path_below
from spark_jobs.sources.listing import is_one_file, is_there
from spark_jobs.sources.refusals import REFUSED_COLUMN, too_large
from spark_jobs.sources.source import open_source
from spark_jobs.store.properties import ONE_FILE_A_BATCH
from spark_jobs.store.tables import SpaceTables, tables_of_row
from udfs.parse_files import ParseSpec, parse_files

# What one commit adds at most, so that a crash loses little: minutes of parsing.
_PART_BYTES, _PART_FILES = 256_000_000, 10_000
# Each task starts a parser of its own, which takes a second.
_TASKS_A_SLOT = 4
_TASK_BYTES = 2_000_000
_TASK_FILES = 500
# Hashes of known contents that every task can hold.
_MOST_KNOWN = 200_000
_MICROSECONDS = 1_000_000
# Files that workers did not find, which the driver looks for.
_LOOKED_FOR = 100
# Columns that follow from the content alone.
_OF_CONTENT = (
    *("mime_type", "title", "author", "language", "text", "characters", "pages", "page_count", "metadata"),
    *(REFUSED_COLUMN, "parsed_by", "parser"),
)


def parse_folder(run: Run, retries: bool, tally: Tally, progress: Progress) -> Run:
    """Reads the files that differ, parses those whose content is not known, and removes those that are gone.

    Args:
        run: The run.
        retries: Whether to try files again that could not be parsed.
        tally: Receives how many files were read, parsed and known by their content.
        progress: Where progress is shown.

    Returns:
        The run, whose source is now the table as it is.

    Raises:
        InputError: A file cannot be read, or workers lack the parser.
        RunActiveError: A later run has taken over.
    """
    folder = _folder_now(run, retries)
    changes, parts = folder.changes, _part_count(folder.counts)
    batches = ONE_FILE_A_BATCH if folder.listing.files is not None else {}
    for number in range(parts):
        check_still_ours(run)
        part = in_memory(changes.where(F.pmod(F.xxhash64("path"), F.lit(parts)) == number))
        with reading("the source"):
            rows = _rows_of(run, folder, part, _known_contents(run, folder, retries))
            with session_properties(run.tables.spark, batches), run.fence.commit(run.tables.spark):
                merge_documents(rows, run.tables, is_new=not folder.counts.known)
        if parts > 1:
            progress.say(f"parsed: part {number + 1:,} of {parts:,}")
    check_still_ours(run)
    _count(run, folder, tally)
    return _reopened(run, folder)


def _folder_now(run: Run, retries: bool) -> Folder:
    """Returns how the folder differs; after a run that did not finish, from what it has committed until now."""
    folder = run.preflight.folder
    if folder is None:
        raise AssertionError("only a library whose files are parsed has this step")
    if run.is_clean:
        return folder
    reopened = _reopened(run, folder)
    return look_at_folder(run.tables.spark, reopened.settings, reopened.preflight.source, folder.listing, retries)


def _part_count(counts: FileCounts) -> int:
    return max(math.ceil(counts.bytes / _PART_BYTES), math.ceil(sum(counts.by_change.values()) / _PART_FILES))


def _rows_of(run: Run, folder: Folder, part: DataFrame, contents: DataFrame) -> DataFrame:
    """Builds rows of `documents`, with `is_gone`, from files that differ; nothing is read before they are written."""
    gone = part.where(F.col("change") == GONE).select("path", F.lit(True).alias("is_gone"))
    there = part.where(F.col("change") != GONE)
    spec, known = _spec(run, folder, there, contents)
    parsed = _large(folder, there.where(F.col("size") > MAX_BYTES)).unionByName(
        _contents(run, folder, there.where(F.col("size") <= MAX_BYTES)).mapInArrow(parse_files(spec), PARSED),
        allowMissingColumns=True,
    )
    rows = parsed.withColumn("parsed_by", F.lit(run.run_id))
    if spec.known:
        rows = _with_known(rows, known)
    rows = rows.drop("is_known").withColumn("run_id", F.lit(run.run_id))
    return rows.unionByName(gone, allowMissingColumns=True)


def _large(folder: Folder, files: DataFrame) -> DataFrame:
    """Rows of files that are not read, because no text of that size could be embedded."""
    return files.select(
        "path",
        "size",
        "modified",
        F.lit(False).alias("is_racy"),
        F.lit(folder.parser.limited).alias("parser"),
        too_large(F.col("size"), MAX_BYTES).alias(REFUSED_COLUMN),
        F.lit(False).alias("is_known"),
        F.lit(False).alias("is_gone"),
    )


def _contents(run: Run, folder: Folder, files: DataFrame) -> DataFrame:
    """Spreads files over tasks; the content is among their columns where Spark reads it."""
    spark, listing = run.tables.spark, folder.listing
    number, size = files.agg(F.count(F.lit(1)), F.coalesce(F.sum("size"), F.lit(0))).collect()[0]
    wanted = max(1, math.ceil(size / _TASK_BYTES), math.ceil(number / _TASK_FILES))
    tasks = min(wanted, _TASKS_A_SLOT * task_slots(spark))
    if listing.files is None:
        return files.select("path").repartition(tasks)
    place = path_below(split_path(listing.root)[2])
    uris = [row.uri for row in files.select("uri").collect()]
    # Spark then opens these files alone, and lists nothing again.
    chosen = listing.files.where(F.col("_metadata.file_path").isin(uris))
    columns = [F.col("length").alias("size"), F.col("modificationTime").alias("modified"), F.col("content")]
    return chosen.select(place.alias("path"), *columns)


def _spec(run: Run, folder: Folder, files: DataFrame, contents: DataFrame) -> tuple[ParseSpec, DataFrame]:
    """Describes how files are read, and finds the known contents that may be theirs: those of the same size."""
    source, listing = run.settings.source, folder.listing
    rows = contents.join(F.broadcast(files.select("size").distinct()), "size", "left_semi")
    hashes = rows.select("content_hash").distinct().limit(_MOST_KNOWN).toArrow().column(0)
    spec = ParseSpec(
        root=listing.root,
        is_file=listing.files is None and is_one_file(listing.root),
        seen_at=int(listing.seen_at * _MICROSECONDS),
        version=folder.parser.version,
        limited=folder.parser.limited,
        limits=LIMITED,
        seconds=source.parse_seconds,
        megabytes=source.parse_megabytes,
        known=frozenset(bytes.fromhex(value.as_py()) for value in hashes),
    )
    return spec, rows


def _known_contents(run: Run, folder: Folder, retries: bool) -> DataFrame:
    """Reads what the same parser made of contents, in this space and in the library's active one."""
    rows = folder.known.select(*DOCUMENTS.schema.names)
    other = _active_tables(run)
    if other is not None:
        rows = rows.unionByName(other.read(DOCUMENTS.name).select(*DOCUMENTS.schema.names))
    # What a limit refused has another parser on record, and is tried again.
    is_same = (F.col("parser") == folder.parser.version) & F.col("content_hash").isNotNull()
    return rows.where(is_same & (F.col(REFUSED_COLUMN).isNull() | F.lit(not retries)))


def _active_tables(run: Run) -> SpaceTables | None:
    active = run.preflight.registry.active
    if active is None or active.space == run.settings.space:
        return None
    tables = tables_of_row(run.tables.spark, run.settings.store, active)
    return tables if tables.exists(DOCUMENTS.name) else None


def _with_known(rows: DataFrame, known: DataFrame) -> DataFrame:
    """Completes files whose content is known with what was parsed from it."""
    told = known.dropDuplicates(["content_hash"]).select(
        F.col("content_hash").alias("known_hash"), F.struct(*_OF_CONTENT).alias("told")
    )
    joined = rows.join(told, F.col("is_known") & (F.col("content_hash") == F.col("known_hash")), "left")
    taken = {name: F.when(F.col("is_known"), F.col(f"told.{name}")).otherwise(F.col(name)) for name in _OF_CONTENT}
    return joined.withColumns(taken).drop("told", "known_hash")


def _count(run: Run, folder: Folder, tally: Tally) -> None:
    """Counts what the run has read, by the rows that it wrote."""
    counts = {"files_gone": folder.counts.by_change[GONE]}
    if run.tables.exists(DOCUMENTS.name):
        mine = run.tables.read(DOCUMENTS.name).where(F.col("run_id") == run.run_id)
        is_read = F.col("content_hash").isNotNull()
        found = mine.agg(
            F.count(F.lit(1)).alias("written"),
            F.count_if(is_read).alias("files_read"),
            F.coalesce(F.sum(F.when(is_read, F.col("size"))), F.lit(0)).alias("bytes_read"),
            F.count_if(is_read & (F.col("parsed_by") == run.run_id)).alias("files_parsed"),
            F.count_if(is_read & (F.col("parsed_by") != run.run_id)).alias("files_reused"),
        ).collect()[0]
        counts |= found.asDict()
    if counts.pop("written", 0) < folder.counts.to_read:
        _check_vanished(run, folder)
    tally.counts.update(counts)


def _check_vanished(run: Run, folder: Folder) -> None:
    """Refuses to go on if workers did not find files that are there; what is gone meanwhile is nobody's fault."""
    mine = run.tables.read(DOCUMENTS.name).where(F.col("run_id") == run.run_id).select("path")
    missing = folder.changes.where(F.col("change") != GONE).join(mine, "path", "left_anti").select("path")
    there = [row.path for row in missing.limit(_LOOKED_FOR).collect() if is_there(folder.listing.root, row.path)]
    if there:
        raise InputError(
            f"workers do not find files that the driver finds, such as {json.dumps(there[0])}. Mount the folder "
            f"{folder.listing.root} on every machine at the same place."
        )


def _reopened(run: Run, folder: Folder) -> Run:
    """Returns the run with the table as it is now as its source."""
    spark = run.tables.spark
    settings = with_parsed(spark, run.settings)
    # Not by the reading that spaces share, which returns what was opened before.
    source = folder.told(open_source(spark, settings.source))
    return replace(run, settings=settings, preflight=replace(run.preflight, source=source))
