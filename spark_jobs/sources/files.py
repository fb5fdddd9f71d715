"""A folder of text files as a source: each file is a document, and its path below the folder is the id."""

import os
import posixpath

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.plan import REFUSED
from schemas.reasons import MAX_BYTES
from spark_jobs.settings.sections import SourceSettings, split_path
from spark_jobs.sources.location import as_is, local_path
from spark_jobs.sources.refusals import REFUSED_COLUMN, too_large

# Hadoop's usual file system on a disk looks for a checksum beside each file, under a name that it cannot form if the
# file's name holds a colon. Not from its cache, which has the usual one.
_ANY_NAME = {
    "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "fs.file.impl.disable.cache": "true",
}
_ALL = 2**31 - 1
# One character of UTF-16, each byte as the character of Latin-1: any but a surrogate, or a pair of surrogates.
_LITTLE = r"\G(?:[\x00-\xFF][\x00-\xD7\xE0-\xFF]|[\x00-\xFF][\xD8-\xDB][\x00-\xFF][\xDC-\xDF])"
_BIG = r"\G(?:[\x00-\xD7\xE0-\xFF][\x00-\xFF]|[\xD8-\xDB][\x00-\xFF][\xDC-\xDF][\x00-\xFF])"


def read_files(spark: SparkSession, source: SourceSettings) -> DataFrame:
    """Reads the files below the source's path, whose name is taken as it is: links are resolved, nothing is a pattern.

    Args:
        spark: A live session.
        source: The source's settings.

    Returns:
        A row for each file that is not empty: path, text, size, modified and `REFUSED_COLUMN`. Files that are too large
        are not read.
    """
    root = root_of(source.path or "")
    folder, files = split_path(root)[2], open_files(spark, source, root)
    # A filter on the length alone reaches the reader, which then does not open the others.
    small, large = files.where(F.col("length") <= MAX_BYTES), files.where(F.col("length") > MAX_BYTES)
    return _as_rows(small, folder, _decoded(F.col("content")), F.lit(None)).unionByName(
        _as_rows(large, folder, F.lit(None), too_large(F.col("length"), MAX_BYTES))
    )


def open_files(spark: SparkSession, source: SourceSettings, root: str) -> DataFrame:
    """Lists the files below a folder; their content is read only where it is asked for.

    Args:
        spark: A live session.
        source: The source's settings.
        root: The folder, as `root_of` returns it.

    Returns:
        Columns path, modificationTime, length and content.
    """
    names = _ANY_NAME if split_path(root)[0] in ("", "file") else {}
    options = {"recursiveFileLookup": "true", **names, **source.options}
    return spark.read.format("binaryFile").options(**options).load(as_is(root))


def root_of(path: str) -> str:
    """Resolves a path as Hadoop shows it in the paths of files: without `..`, and without links on this machine."""
    local = local_path(path)
    if local is not None:
        return os.path.realpath(local)
    _, _, rest = split_path(path)
    # What stands before it keeps its upper case.
    return path[: len(path) - len(rest)] + posixpath.normpath(rest) if path.endswith(rest) else path


def _as_rows(files: DataFrame, folder: str, text: Column, refused: Column) -> DataFrame:
    return files.select(
        path_below(folder).alias("path"),
        text.cast("string").alias("text"),
        F.col("length").alias("size"),
        F.col("modificationTime").alias("modified"),
        refused.cast(REFUSED).alias(REFUSED_COLUMN),
    )


def path_below(folder: str) -> Column:
    """Builds the path below a folder; the name of the file if the folder is that file; null for anything else."""
    place = F.regexp_replace("path", "^[A-Za-z][A-Za-z0-9+.-]*:(?://[^/]*)?", "")
    prefix = folder.rstrip("/") + "/"
    below = place.substr(F.lit(len(prefix) + 1), F.length(place))
    return F.when(F.startswith(place, F.lit(prefix)), below).when(place == folder, F.lit(posixpath.basename(folder)))


def _decoded(content: Column) -> Column:
    """Text of a file's bytes, as its byte order mark says or in UTF-8; bytes that are invalid stay as they are."""
    mark = F.hex(F.substring(content, 1, 2))
    # One character for each byte, so that invalid UTF-16 is found before it would fail the task.
    units = F.decode(F.substring(content, 3, _ALL), "ISO-8859-1")
    is_utf_16 = F.when(mark == "FFFE", F.regexp_replace(units, _LITTLE, "") == "").when(
        mark == "FEFF", F.regexp_replace(units, _BIG, "") == ""
    )
    is_marked = F.hex(F.substring(content, 1, 3)) == "EFBBBF"
    return (
        F.when(is_utf_16, F.decode(content, "UTF-16"))
        .when(is_marked, F.substring(content, 4, _ALL).cast("string"))
        .otherwise(content.cast("string"))
    )
