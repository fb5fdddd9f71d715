"""The record of a space's runs: what it says, and whether it allows other work on the space."""

import os
import platform
import socket
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import distributions

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError, RunActiveError
from schemas.ledger import LEDGER
from schemas.runs import ENDS, FINISHED, MAINTENANCE_ENDED, RUNS, WAS_CLEAN
from spark_jobs.settings.loading import Settings
from spark_jobs.store.spaces import registered
from spark_jobs.store.tables import SpaceTables, space_tables
from udfs import __version__

_PACKAGES = ("pyspark", "delta-spark", "torch", "sentence-transformers", "transformers", "tokenizers", "pyarrow")


def history(tables: SpaceTables) -> tuple[Row | None, Row | None]:
    """Finds the last run of a space and the last one that finished; run numbers decide, not clocks.

    See `as_histories` for their fields. Either is None if there is none.
    """
    row = events(tables).agg(*as_histories()).collect()[0]
    return row["last"], row["finished"]


def last_run(tables: SpaceTables) -> Row | None:
    """Finds the last run of a space, as `history` does; None also where there is no record of runs."""
    return history(tables)[0] if tables.exists(RUNS.name) else None


def library_histories(tables: SpaceTables) -> dict[str, Row]:
    """Finds the fields of `as_histories` for each space of a library that has had a run; `tables` are of any space."""
    if not tables.exists(RUNS.name):
        return {}
    here = tables.read(RUNS.name).where(F.col("library") == tables.location.library)
    return {row.space: row for row in here.groupBy("space").agg(*as_histories()).collect()}


def as_histories() -> list[Column]:
    """Builds two aggregates over the events of a space, `last` and `finished`; each is null if there is none.

    The last run, or maintenance, has run_number, ended, clean (whether it and all before it finished), event_time and
    owner; the last finished run has run_number, event_time, source_version, source_id, source_rule and counts.
    """
    left_clean = (F.col("event") == MAINTENANCE_ENDED) & (F.try_element_at("counts", F.lit(WAS_CLEAN)) == 1)
    is_clean = (F.col("event") == FINISHED) | F.coalesce(left_clean, F.lit(False))
    is_end = [F.col("event").isin(*ENDS).alias("ended"), is_clean.alias("clean")]
    last = F.max(F.struct("run_number", *is_end, "event_time", "owner"))
    kept = F.struct("run_number", "event_time", "source_version", "source_id", "source_rule", "counts")
    finished = F.max_by(kept, F.when(F.col("event") == FINISHED, F.col("run_number")))
    return [last.alias("last"), finished.alias("finished")]


def count_of(name: str) -> Column:
    """Builds a number of the column `counts`; null where a run did not count it."""
    return F.try_element_at("counts", F.lit(name))


def wall_seconds(counts: Mapping[str, int], seconds: Mapping[str, float]) -> float:
    """Returns how long a run took by the clock; runs of earlier versions only recorded their steps."""
    return counts["milliseconds"] / 1000 if "milliseconds" in counts else sum(seconds.values())


def refuse_second(last: Row | None, settings: Settings, take_over: bool) -> None:
    """Refuses to work on a space while another run does.

    The clock only tells whether that run may still be alive; the fence keeps two runs apart.

    Args:
        last: Last run, as `history` finds it.
        settings: Names the space, and the age after which a run counts as dead.
        take_over: Whether to continue anyway.

    Raises:
        RunActiveError: The last run has not ended, and its newest event is younger than `run.stale_after_seconds`.
    """
    if last is None or last.ended or take_over:
        return
    # On a local path the caller holds the space's lock: a run on this machine that has not ended is dead.
    if settings.store.is_local and (last.owner or "").split(":")[0] == socket.gethostname():
        return
    age = abs((datetime.now().astimezone() - last.event_time.astimezone()).total_seconds())
    if age < settings.run.stale_after_seconds:
        raise RunActiveError(
            f"run {settings.library}.{settings.space}.{last.run_number} ({last.owner}) has not ended, and its last "
            f"event is {age:.0f} s old (run.stale_after_seconds {settings.run.stale_after_seconds:g}). Wait for it to "
            "finish, or take over from it with --take-over."
        )


def require_tables(spark: SparkSession, settings: Settings) -> Row | None:
    """Refuses a space without vectors or ledger, or with another's; returns its row in the registry, if it has one."""
    row = registered(spark, settings)
    tables = space_tables(spark, settings)
    missing = [tables.name(table) for table in ("vectors", LEDGER.name) if not tables.exists(table)]
    if missing:
        raise InputError(
            f"space {settings.library}.{settings.space} has no table {' and no table '.join(missing)}. Check library, "
            "space and store, or run embedlake embed first."
        )
    return row


def events(tables: SpaceTables) -> DataFrame:
    """Reads the events of the space's runs: rows of `runs`."""
    here = (F.col("library") == tables.location.library) & (F.col("space") == tables.location.space)
    return tables.read(RUNS.name).where(here)


@cache
def installed_versions() -> dict[str, str]:
    """Finds the versions of the packages that results depend on; packages that are not installed are left out."""
    # Spark puts its jars on the path too, and searching them takes a second.
    folders = [entry for entry in sys.path if os.path.isdir(entry)]
    versions = {"embedlake": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        for distribution in distributions(name=package, path=folders):
            versions.setdefault(package, distribution.version)
    return versions
