"""The record of runs: events appended to the store's `runs` table."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from schemas.runs import RUNS
from spark_jobs import store
from spark_jobs.preflight import Checked
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
    """

    number: int
    run_id: str
    settings: Settings
    checked: Checked
    place: store.Place


def open_run(spark: SparkSession, settings: Settings, checked: Checked) -> Run:
    """Takes the next run number of the space.

    Args:
        spark: The live session.
        settings: The whole configuration.
        checked: What pre-flight found.

    Returns:
        The run.
    """
    place = store.place_of(settings)
    here = (F.col("library") == settings.library) & (F.col("space") == settings.space)
    last = store.read(spark, place, RUNS.name).where(here).agg(F.max("run_number")).collect()[0][0]
    number = (last or 0) + 1
    return Run(number, f"{settings.library}.{settings.space}.{number}", settings, checked, place)


def record(
    spark: SparkSession,
    run: Run,
    event: str,
    counts: Mapping[str, int] | None = None,
    seconds: Mapping[str, float] | None = None,
    slice_number: int | None = None,
    slice_count: int | None = None,
    message: str | None = None,
) -> None:
    """Appends one event of a run.

    Args:
        spark: The live session.
        run: The run.
        event: One of the events that `schemas.runs` names.
        counts: Documents by change and status, chunks, tokens.
        seconds: Wall-clock seconds by step.
        slice_number: Slice that was committed, from 1.
        slice_count: Slices of the run.
        message: What went wrong.
    """
    row = {
        "library": run.settings.library,
        "space": run.settings.space,
        "run_number": run.number,
        "run_id": run.run_id,
        "event": event,
        "event_time": datetime.now().astimezone(),
        "slice_number": slice_number,
        "slice_count": slice_count,
        "model_fingerprint": run.checked.model_fingerprint,
        "chunking_fingerprint": run.checked.chunking_fingerprint,
        "source_version": run.checked.source.version,
        "counts": dict(counts or {}),
        "seconds": {step: round(value, 3) for step, value in (seconds or {}).items()},
        "versions": installed_versions(),
        "message": message,
    }
    values = tuple(row[name] for name in RUNS.schema.names)
    store.append(spark.createDataFrame([values], RUNS.schema), run.place, RUNS.name)


def installed_versions() -> dict[str, str]:
    """Names the versions that a run was made with.

    Returns:
        Versions by package; packages that are not installed are left out.
    """
    found = {"embedlake": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
