"""What a job asks before it works on a space beside its runs: the tables are there, and no run is at work."""

import os
import platform
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from importlib.metadata import distributions

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError, RunActiveError
from schemas.ledger import LEDGER
from schemas.runs import ENDS, FINISHED, RUNS
from spark_jobs.settings.loading import Settings
from spark_jobs.store.locks import space_lock
from spark_jobs.store.tables import SpaceTables, space_tables
from udfs import __version__

_PACKAGES = ("pyspark", "delta-spark", "torch", "sentence-transformers", "transformers", "tokenizers", "pyarrow")


def history(tables: SpaceTables) -> tuple[Row | None, Row | None]:
    """Finds the last run of a space and the last one that finished; run numbers decide, no clock does.

    Args:
        tables: The space's tables.

    Returns:
        The last run (run_number, ended, finished, event_time, owner) and the last finished one (run_number,
        source_version, source_id, source_rule); None where there is none.
    """
    is_end = [F.col("event").isin(*ENDS).alias("ended"), (F.col("event") == FINISHED).alias("finished")]
    last = F.max(F.struct("run_number", *is_end, "event_time", "owner"))
    good = F.struct("run_number", "source_version", "source_id", "source_rule")
    row = events(tables).agg(last.alias("last"), F.max(F.when(F.col("event") == FINISHED, good)).alias("good"))
    found = row.collect()[0]
    return found["last"], found["good"]


def refuse_second(last: Row | None, settings: Settings, take_over: bool) -> None:
    """Refuses to work on a space while another run does.

    The clock is asked only whether that run may still be alive; what keeps two runs apart is the fence.

    Args:
        last: Last run, as `history` finds it.
        settings: The whole configuration.
        take_over: Whether to go on all the same.

    Raises:
        RunActiveError: The last run has not ended, and its newest event is younger than `run.stale_after_seconds`.
    """
    if last is None or last.ended or take_over:
        return
    # On a local path the space's lock is held here: a run on this machine that has not ended is dead.
    if settings.store.is_local and (last.owner or "").split(":")[0] == socket.gethostname():
        return
    age = abs((datetime.now().astimezone() - last.event_time.astimezone()).total_seconds())
    if age < settings.run.stale_after_seconds:
        raise RunActiveError(
            f"run {settings.library}.{settings.space}.{last.run_number} ({last.owner}) has not ended, and its last "
            f"event is {age:.0f} s old (run.stale_after_seconds {settings.run.stale_after_seconds:g}): wait for it, "
            "or end it by --take-over"
        )


def require_tables(spark: SparkSession, settings: Settings) -> None:
    """Refuses a space that no run has written to.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Raises:
        InputError: The space lacks its vectors or its ledger.
    """
    tables = space_tables(spark, settings)
    missing = [tables.name(table) for table in ("vectors", LEDGER.name) if not tables.exists(table)]
    if missing:
        raise InputError(
            f"space {settings.library}.{settings.space} has no table {' and no table '.join(missing)}: check library, "
            "space and store, or run embedlake embed first"
        )


@contextmanager
def exclusive(spark: SparkSession, settings: Settings) -> Iterator[None]:
    """Holds a space for work that is no run.

    Args:
        spark: The live session.
        settings: The whole configuration.

    Raises:
        RunActiveError: A run, or other work of this kind, is under way.
    """
    tables = space_tables(spark, settings)
    with space_lock(settings):
        # A store whose record of runs was lost has nothing to say about runs that are at work.
        if tables.exists(RUNS.name):
            refuse_second(history(tables)[0], settings, take_over=False)
        yield


def events(tables: SpaceTables) -> DataFrame:
    """Reads the events of the space's runs.

    Args:
        tables: The space's tables.

    Returns:
        Rows of `runs`.
    """
    here = (F.col("library") == tables.location.library) & (F.col("space") == tables.location.space)
    return tables.read(RUNS.name).where(here)


@cache
def installed_versions() -> dict[str, str]:
    """Names the versions that a run was made with.

    Returns:
        Versions by package; packages that are not installed are left out.
    """
    # Spark puts its jars on the path too, and these take a second to look through.
    folders = [entry for entry in sys.path if os.path.isdir(entry)]
    found = {"embedlake": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        for distribution in distributions(name=package, path=folders):
            found.setdefault(package, distribution.version)
    return found
