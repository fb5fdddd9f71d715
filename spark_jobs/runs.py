"""The record of runs: events appended to the store's `runs` table."""

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import distributions

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.runs import RUNS
from spark_jobs import store
from spark_jobs.fence import Fence
from spark_jobs.locks import store_lock
from spark_jobs.preflight import Checked
from spark_jobs.progress import Progress
from spark_jobs.settings import Settings
from udfs import __version__

_PACKAGES = ("pyspark", "delta-spark", "torch", "sentence-transformers", "transformers", "tokenizers", "pyarrow")


@dataclass(frozen=True)
class Run:
    """One execution of the main job.

    Attributes:
        number: Position in its space, from 1.
        run_id: Library, space and number in one word.
        settings: The whole configuration.
        checked: What pre-flight found.
        place: Where the tables lie.
        fence: What numbers its commits.
        owner: Host, process and a random word: who the run is.
        before: The newest finished run of the space: run_number, source_version, source_id and source_rule; or None.
        is_clean: Whether the run before this one finished, so that nothing can be half done.
    """

    number: int
    run_id: str
    settings: Settings
    checked: Checked
    place: store.Place
    fence: Fence
    owner: str
    before: Row | None
    is_clean: bool


def events(spark: SparkSession, place: store.Place) -> DataFrame:
    """Reads the events of the space's runs.

    Args:
        spark: The live session.
        place: Where the tables lie.

    Returns:
        Rows of `runs`.
    """
    here = (F.col("library") == place.library) & (F.col("space") == place.space)
    return store.read(spark, place, RUNS.name).where(here)


def record(
    spark: SparkSession,
    run: Run,
    event: str,
    counts: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    slice_number: int | None = None,
    message: str | None = None,
    plan: str | None = None,
) -> None:
    """Appends one event of a run.

    Args:
        spark: The live session.
        run: The run.
        event: One of the events that `schemas.runs` names.
        counts: Documents by change and status, chunks, tokens.
        progress: What its steps and the model took so far.
        slice_number: Slice that was committed, from 1.
        message: What went wrong.
        plan: How the work was found.
    """
    row = {
        "library": run.settings.library,
        "space": run.settings.space,
        "run_number": run.number,
        "run_id": run.run_id,
        "event": event,
        "event_time": datetime.now().astimezone(),
        "owner": run.owner,
        "slice_number": slice_number,
        "model_fingerprint": run.checked.model_fingerprint,
        "chunking_fingerprint": run.checked.chunking_fingerprint,
        "source_version": run.checked.source.version,
        "source_id": run.checked.source.table_id,
        "source_rule": run.checked.source.rule,
        "plan": plan,
        "counts": dict(counts or {}),
        "seconds": {step: round(value, 3) for step, value in progress.seconds.items()} if progress else {},
        "inference": dict(progress.inference.values) or None if progress else None,
        "versions": installed_versions(),
        "message": message,
    }
    values = tuple(row[name] for name in RUNS.schema.names)
    with store_lock(run.settings):
        store.append(spark.createDataFrame([values], RUNS.schema), run.place, RUNS.name)


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
