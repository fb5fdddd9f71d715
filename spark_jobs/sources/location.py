"""Where a source's files are: paths that Spark takes as they are, and what the folder tells before Spark reads it."""

import os
import posixpath
import re
from collections.abc import Collection, Iterable

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.types import StringType, StructField

from schemas.errors import InputError
from spark_jobs.settings.sections import SourceSettings, split_path
from spark_jobs.sources.local_folder import Listing, list_folder

_PATTERN = re.compile(r"([\\\[\]{}*?])")


def local_path(path: str) -> str | None:
    """Returns the path of a file or folder on this machine; None if it is elsewhere or does not exist."""
    scheme, _, rest = split_path(path)
    # As Hadoop does it: `..` is taken out of the path before any link is followed.
    rest = posixpath.normpath(rest)
    return rest if scheme in ("", "file") and os.path.exists(rest) else None


def as_is(path: str) -> str:
    """Escapes what Hadoop reads as a pattern, such as the brackets in `notes [old]`."""
    return _PATTERN.sub(r"\\\1", path)


def load_path(path: str) -> str:
    """Returns a path for a reader: a pattern, unless this machine has a file or folder of that very name."""
    return as_is(path) if local_path(path) is not None else path


def as_written(fields: Iterable[StructField], names: Collection[str]) -> list[StructField]:
    """Makes strings of columns that come from names of folders: Spark would read the name 007 as the number 7."""
    return [StructField(field.name, StringType()) if field.name in names else field for field in fields]


def survey(spark: SparkSession, source: SourceSettings) -> tuple[str, ...]:
    """Looks through a source's folder on this machine for files that Spark would leave out without a word.

    Args:
        spark: A live session.
        source: The source's settings.

    Returns:
        What the plan line should say of it; nothing for other sources, and for folders of other machines.

    Raises:
        InputError: Files could not be read or would be missing.
    """
    # Of files that are parsed, the listing itself is judged.
    path = None if source.is_table else local_path(source.path or "")
    if path is None:
        if source.format == "files" and _PATTERN.search(source.path or ""):
            raise InputError(
                f"the source {source.path} is not there, and its path is taken as it is, not as a pattern. Name the "
                "folder alone; source.options.pathGlobFilter chooses files in it."
            )
        return ()
    return judged(spark, source, list_folder(path))


def judged(spark: SparkSession, source: SourceSettings, listing: Listing) -> tuple[str, ...]:
    """Judges what a folder on this machine holds; see `survey`.

    Args:
        spark: A live session.
        source: The source's settings.
        listing: What the folder holds.

    Returns:
        What the plan line should say of it.

    Raises:
        InputError: Files could not be read or would be missing.
    """
    faults = listing.faults()
    if listing.beyond_ascii and not listing.undecodable:
        faults += _java_faults(spark, listing)
    if listing.passed_over and not listing.read:
        faults.append(
            f"Spark passes over files and folders whose names begin with _ or ., and there is nothing else "
            f"({_files(listing.passed_over)}). Rename them."
        )
    if faults:
        raise InputError(f"the source {source.path}: {fault}" for fault in faults)
    if not listing.passed_over:
        return ()
    return (f"passed over for names that begin with _ or .: {_files(listing.passed_over)}",)


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


def _java_faults(spark: SparkSession, listing: Listing) -> list[str]:
    try:
        asked = spark.sql("SELECT java_method('java.lang.System', 'getProperty', 'sun.jnu.encoding')").collect()
    except PySparkException:
        return []  # some platforms do not let Java be asked
    encoding = str(asked[0][0])
    if encoding.upper().replace("-", "") == "UTF8":
        return []
    return [
        f"Java reads names of files as {encoding} in this session and would pass over {_files(listing.beyond_ascii)}. "
        "Start the session with the environment variable LC_ALL=C.UTF-8."
    ]
