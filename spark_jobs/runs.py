"""The record of runs: events appended to the store's `runs` table, and the claim that keeps runs apart."""

import os
import platform
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import RunActiveError
from schemas.ledger import LEDGER
from schemas.runs import ENDS, FINISHED, RUNS, STARTED
from spark_jobs import store
from spark_jobs.fence import Fence
from spark_jobs.locks import store_lock
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


def history(spark: SparkSession, place: store.Place) -> tuple[Row | None, Row | None]:
    """Finds the last run of a space and the last one that finished; run numbers decide, no clock does.

    Args:
        spark: The live session.
        place: Where the tables lie.

    Returns:
        The last run (run_number, ended, finished, event_time, owner) and the last finished one (run_number,
        source_version, source_id, source_rule); None where there is none.
    """
    is_end = [F.col("event").isin(*ENDS).alias("ended"), (F.col("event") == FINISHED).alias("finished")]
    last = F.max(F.struct("run_number", *is_end, "event_time", "owner"))
    good = F.struct("run_number", "source_version", "source_id", "source_rule")
    row = events(spark, place).agg(last.alias("last"), F.max(F.when(F.col("event") == FINISHED, good)).alias("good"))
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


def open_run(spark: SparkSession, settings: Settings, checked: Checked, take_over: bool = False) -> Run:
    """Takes the next run number of the space, and shuts out every earlier run.

    Args:
        spark: The live session.
        settings: The whole configuration.
        checked: What pre-flight found.
        take_over: Whether to go on although another run has not ended.

    Returns:
        The run.

    Raises:
        RunActiveError: Another run is at work, or took the number first.
    """
    place = store.place_of(settings)
    last, good = history(spark, place)
    refuse_second(last, settings, take_over)
    number = (last.run_number if last is not None else _number_from_tables(spark, place)) + 1
    app_id = f"{settings.library}.{settings.space}"
    run = Run(
        number=number,
        run_id=f"{app_id}.{number}",
        settings=settings,
        checked=checked,
        place=place,
        fence=Fence(app_id, number),
        owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        before=good,
        is_clean=last.finished if last is not None else number == 1,
    )
    # Of two runs that take one number Delta lets one commit: the other fails, or is passed over in silence.
    with store.transaction(spark, f"{app_id}.runs", number, run.run_id):
        record(spark, run, STARTED)
    owners = events(spark, place).where((F.col("run_number") == number) & (F.col("event") == STARTED))
    if [row.owner for row in owners.select("owner").collect()] != [run.owner]:
        raise RunActiveError(f"another run started as {run.run_id} at the same moment: wait for it to end")
    if last is not None and not last.ended:
        _shut_out(spark, run)
    return run


def check_still_ours(spark: SparkSession, run: Run) -> None:
    """Stops a run that another one has taken over from.

    Args:
        spark: The live session.
        run: The run.

    Raises:
        RunActiveError: A later run has started.
    """
    newest = events(spark, run.place).agg(F.max("run_number")).collect()[0][0] or 0
    if newest > run.number:
        raise RunActiveError(
            f"run {run.settings.library}.{run.settings.space}.{newest} has taken over from {run.run_id}, which ends "
            "here; what it committed stays"
        )


def record(
    spark: SparkSession,
    run: Run,
    event: str,
    counts: Mapping[str, int] | None = None,
    seconds: Mapping[str, float] | None = None,
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
        seconds: Wall-clock seconds by step.
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
        "seconds": {step: round(value, 3) for step, value in (seconds or {}).items()},
        "versions": installed_versions(),
        "message": message,
    }
    values = tuple(row[name] for name in RUNS.schema.names)
    with store_lock(run.settings):
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


def _number_from_tables(spark: SparkSession, place: store.Place) -> int:
    # Where the record of runs was lost the tables still remember the numbers of their commits, and pass over lower ones.
    ids = {run_id for table in ("vectors", LEDGER.name) for run_id in store.last_committers(spark, place, table)}
    return max((int(run_id.rpartition(".")[2]) for run_id in ids), default=0)


def _shut_out(spark: SparkSession, run: Run) -> None:
    for table in ("vectors", LEDGER.name):
        nothing = spark.createDataFrame([], store.read(spark, run.place, table).schema)
        with run.fence.commit(spark):
            store.append(nothing, run.place, table)
