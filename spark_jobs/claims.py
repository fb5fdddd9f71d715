"""Who may work on a space: the claim that opens a run, and the question whether it still stands."""

import os
import secrets
import socket
from datetime import datetime

from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import RunActiveError
from schemas.ledger import LEDGER
from schemas.runs import ENDS, FINISHED, STARTED
from spark_jobs import store
from spark_jobs.fence import Fence, transaction
from spark_jobs.preflight import Checked
from spark_jobs.runs import Run, events, record
from spark_jobs.settings import Settings


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
    with transaction(spark, f"{app_id}.runs", number, run.run_id):
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


def _number_from_tables(spark: SparkSession, place: store.Place) -> int:
    # Where the record of runs was lost, the tables still know the numbers of their commits and pass over lower ones.
    ids = {run_id for table in ("vectors", LEDGER.name) for run_id in store.last_committers(spark, place, table)}
    return max((int(run_id.rpartition(".")[2]) for run_id in ids), default=0)


def _shut_out(spark: SparkSession, run: Run) -> None:
    for table in ("vectors", LEDGER.name):
        nothing = spark.createDataFrame([], store.read(spark, run.place, table).schema)
        with run.fence.commit(spark):
            store.append(nothing, run.place, table)
