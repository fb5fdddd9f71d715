"""The files of a folder that are parsed: paths, sizes and times, without reading one."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.documents import LISTED
from schemas.errors import InputError
from spark_jobs.runtime.spark_errors import cause_of, is_connection_lost
from spark_jobs.settings.sections import SourceSettings, split_path
from spark_jobs.sources.files import open_files, path_below, root_of
from spark_jobs.sources.local_folder import Listing, list_folder
from spark_jobs.sources.location import judged, local_path, survey
from spark_jobs.sources.name_patterns import matcher

_GLOB = "pathGlobFilter"


@dataclass(frozen=True)
class FolderListing:
    """Files of a folder, as one run sees them.

    Attributes:
        rows: Columns `schemas.documents.LISTED`.
        seen_at: When the listing began, in seconds since 1970.
        root: The folder or file, as the paths of its files show it.
        files: What Spark reads the files by; None where workers open them by their paths.
        notes: What the plan line should say of what was passed over.
    """

    rows: DataFrame
    seen_at: float
    root: str
    files: DataFrame | None
    notes: tuple[str, ...] = ()


def list_documents(spark: SparkSession, source: SourceSettings) -> FolderListing:
    """Lists the files of a source whose files are parsed.

    Args:
        spark: A live session.
        source: The source's settings.

    Returns:
        The listing. A folder on this machine is walked here, any other is listed by Spark.

    Raises:
        InputError: The folder is not there, or files could not be read or would be missing.
    """
    path, root, seen_at = source.path or "", root_of(source.path or ""), time.time()
    local = local_path(path)
    if local is not None:
        found = list_folder(local, _chosen(source))
        notes = judged(spark, source, found)
        return FolderListing(_as_rows(spark, found), seen_at, root, None, notes)
    survey(spark, source)
    try:
        files = open_files(spark, source, root)
        below = path_below(split_path(root)[2])
        rows = files.select(
            below.alias("path"),
            F.col("length").alias("size"),
            F.col("modificationTime").alias("modified"),
            F.col("_metadata.file_path").alias("uri"),
        )
        return FolderListing(rows, seen_at, root, files)
    except Exception as error:  # Py4J raises it if the folder is not there, PySpark if it is no folder
        if is_connection_lost(error):
            raise
        raise InputError(f"the source {path} cannot be listed: {cause_of(error)}") from error


def _chosen(source: SourceSettings) -> Callable[[bytes], bool]:
    pattern = source.options.get(_GLOB)
    try:
        return matcher(pattern)
    except ValueError as error:
        raise InputError(f"source.options.{_GLOB} {pattern} is no pattern: {error}. Close it.") from error


def _as_rows(spark: SparkSession, found: Listing) -> DataFrame:
    # Every name is UTF-8, or the folder was refused.
    paths = [path.decode() for path, _, _ in found.files]
    columns: dict[str, pa.Array[Any]] = {
        "path": pa.array(paths, pa.string()),
        "size": pa.array([size for _, size, _ in found.files], pa.int64()),
        "modified": pa.array([modified for _, _, modified in found.files], pa.timestamp("us", "UTC")),
        "uri": pa.nulls(len(paths), pa.string()),
    }
    return spark.createDataFrame(pa.table(columns), LISTED)


def is_there(root: str, path: str) -> bool:
    """Whether this machine has a file that was listed, by its path below the folder."""
    return os.path.isfile(root if is_one_file(root) else os.path.join(root, path))


def is_one_file(root: str) -> bool:
    """Whether a source on this machine is a file itself, not a folder."""
    return os.path.isfile(root)
