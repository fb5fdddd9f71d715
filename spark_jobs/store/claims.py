"""Taking a space, for a run or for maintenance: the number that shuts out all that began earlier."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark import inheritable_thread_target
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.documents import DOCUMENTS
from schemas.errors import RunActiveError
from schemas.ledger import LEDGER
from schemas.runs import AT_WORK, FAILED, MAINTENANCE_ENDED, MAINTENANCE_STARTED, RUNS, WAS_CLEAN
from schemas.table import Table
from spark_jobs.settings.loading import Settings
from spark_jobs.store.fence import Fence, new_owner, transaction
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.locks import SpaceLock, space_lock, store_lock
from spark_jobs.store.runs import events, history, installed_versions, refuse_second
from spark_jobs.store.tables import SpaceTables, space_tables

_FENCED_TABLES = ("vectors", LEDGER.name, DOCUMENTS.name)
# Events within the time after which a run without one counts as dead.
_BEATS = 4


@dataclass(frozen=True)
class Claim:
    """Who works on a space.

    Attributes:
        number: Number of the run or maintenance in its space, from 1.
        run_id: Library, space and number, joined by dots.
        owner: Host, process and a random word.
        fence: Numbers its commits.
        was_clean: Whether all that began earlier has finished, so no document can be half done.
        lock: What keeps other processes of this machine away.
    """

    number: int
    run_id: str
    owner: str
    fence: Fence
    was_clean: bool
    lock: SpaceLock


def claim_space(
    tables: SpaceTables,
    settings: Settings,
    last: Row | None,
    event: str,
    values: Mapping[str, Any],
    lock: SpaceLock,
    fenced: Sequence[Table] = (),
) -> Claim:
    """Takes the next number of a space, records it, and shuts out every earlier run that did not finish.

    Args:
        tables: The space's tables.
        settings: Names the space and its store.
        last: What began last, as `history` finds it.
        event: How the beginning is recorded.
        values: Other columns of the event.
        lock: What keeps other processes of this machine away.
        fenced: The tables `vectors`, `ledger` and, where files are parsed, `documents`, as a run makes them.
            Maintenance makes none: without them, the next run shuts out what came before.

    Returns:
        The claim.

    Raises:
        RunActiveError: Another process took the number first.
    """
    number = (last.run_number if last is not None else _number_from_tables(tables)) + 1
    app_id = f"{settings.library}.{settings.space}"
    claim = Claim(
        number=number,
        run_id=f"{app_id}.{number}",
        owner=new_owner(),
        fence=Fence(app_id, number),
        was_clean=last.clean if last is not None else number == 1,
        lock=lock,
    )
    # If two take the same number, Delta commits one; the other fails, or its commit is skipped without an error.
    with transaction(tables.spark, f"{app_id}.runs", number, claim.run_id):
        append_event(tables, settings, claim, event, values)
    if not lock.is_alone():
        _check_number_is_ours(tables, claim)
    # Also one that is on record as failed or stopped: its server may still be at work on a commit.
    if last is not None and not last.clean:
        _shut_out_earlier_runs(tables, claim, fenced)
    return claim


def _check_number_is_ours(tables: SpaceTables, claim: Claim) -> None:
    owners = events(tables).where(F.col("run_number") == claim.number).select("owner").distinct().collect()
    if [row.owner for row in owners] != [claim.owner]:
        raise RunActiveError(f"another run started as {claim.run_id} at the same moment. Wait for it to finish.")


def check_still_held(tables: SpaceTables, claim: Claim) -> None:
    """Raises RunActiveError once a later run, or another one of the same number, has taken over the space."""
    if claim.lock.is_alone():
        return
    # Delta's statistics show that files of earlier runs have no such row, so hardly any file is read.
    number = F.col("run_number")
    is_other = (number > claim.number) | ((number == claim.number) & (F.col("owner") != claim.owner))
    later = events(tables).where(is_other).select("run_id").limit(1).collect()
    if later:
        raise RunActiveError(
            f"run {later[0].run_id} has taken over from {claim.run_id}. This run ends here; what it committed stays."
        )


def append_event(tables: SpaceTables, settings: Settings, claim: Claim, event: str, values: Mapping[str, Any]) -> None:
    """Appends an event to the store's `runs` table; columns that are not given are null."""
    rows = _as_rows(tables.spark, settings, claim, event, values)
    with store_lock(settings):
        tables.append(rows, RUNS)


@contextmanager
def kept_alive(tables: SpaceTables, settings: Settings, claim: Claim) -> Iterator[None]:
    """Records that the claim's owner is still at work, several times before others would take it for dead.

    A slice commits nothing while it embeds, and may take longer than `run.stale_after_seconds`.
    """
    seconds = settings.run.stale_after_seconds / _BEATS
    ended = threading.Event()

    def beat() -> None:
        number = 0
        while not ended.wait(seconds):
            number += 1
            # A store that cannot be written now stops the work itself soon enough.
            with suppress(Exception):
                _append_beat(tables, settings, claim, number)

    if not seconds:
        yield
        return
    thread = threading.Thread(target=inheritable_thread_target(tables.spark)(beat), name="embedlake-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _append_beat(tables: SpaceTables, settings: Settings, claim: Claim, number: int) -> None:
    rows = _as_rows(tables.spark, settings, claim, AT_WORK, {})
    # The session's transaction may at this moment be that of a commit of the run, which this must not count as.
    own = {"txnAppId": f"{claim.run_id} {claim.owner}", "txnVersion": str(number)}
    with store_lock(settings):
        rows.writeTo(tables.name(RUNS.name)).options(**own).append()


def _as_rows(spark: SparkSession, settings: Settings, claim: Claim, event: str, values: Mapping[str, Any]) -> DataFrame:
    row = {
        "library": settings.library,
        "space": settings.space,
        "run_number": claim.number,
        "run_id": claim.run_id,
        "event": event,
        "event_time": datetime.now().astimezone(),
        "owner": claim.owner,
        "counts": {},
        "seconds": {},
        "versions": installed_versions(),
        **values,
    }
    return spark.createDataFrame([tuple(row.get(name) for name in RUNS.schema.names)], RUNS.schema)


@contextmanager
def exclusive(spark: SparkSession, settings: Settings, work: str) -> Iterator[Claim]:
    """Holds a space for work other than a run, which claims it as a run does.

    Args:
        spark: The live session.
        settings: Names the space.
        work: The work, as the record of runs names it.

    Yields:
        The claim; its fence must number every commit that removes or changes rows.

    Raises:
        RunActiveError: A run, or other work of this kind, is in progress, or has taken over.
    """
    settings = with_file_system(spark, settings)
    tables = space_tables(spark, settings)
    with space_lock(settings) as lock:
        with store_lock(settings):
            has_record = tables.complete(RUNS)
        last = history(tables)[0] if has_record else None
        refuse_second(last, settings, take_over=False)
        # Without a record nothing is known about what came before.
        clean = last is not None and last.clean
        values = {"plan": work, "counts": {WAS_CLEAN: int(clean)}}
        claim = claim_space(tables, settings, last, MAINTENANCE_STARTED, values, lock)
        try:
            with kept_alive(tables, settings, claim):
                yield claim
            check_still_held(tables, claim)
        except RunActiveError:
            raise
        except (KeyboardInterrupt, Exception):
            with suppress(Exception):
                append_event(tables, settings, claim, FAILED, {"plan": work})
            raise
        append_event(tables, settings, claim, MAINTENANCE_ENDED, values)


def _number_from_tables(tables: SpaceTables) -> int:
    # If the record of runs was lost, the tables still hold their highest commit number and skip lower ones.
    ids = {run_id for table in _FENCED_TABLES for run_id in tables.last_committers(table)}
    return max((int(run_id.rpartition(".")[2]) for run_id in ids), default=0)


def _shut_out_earlier_runs(tables: SpaceTables, claim: Claim, fenced: Sequence[Table]) -> None:
    described = {table.name: table for table in fenced}
    for name in _FENCED_TABLES:
        if name in described:
            schema, table = described[name].schema, described[name]
        elif tables.exists(name):
            schema = tables.read(name).schema
            table = Table(name, "", schema)
        else:
            continue
        with claim.fence.commit(tables.spark):
            tables.append(tables.spark.createDataFrame([], schema), table)
