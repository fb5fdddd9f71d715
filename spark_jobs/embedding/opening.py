"""Who may work on a space: the claim that opens a run, and the question whether it still stands."""

import os
import secrets
import socket
from dataclasses import replace
from functools import partial

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from schemas.errors import RunActiveError
from schemas.ledger import LEDGER
from schemas.plan import plan_table
from schemas.runs import RUNS, STARTED
from schemas.spaces import SPACES
from schemas.staged import STAGED_CHUNKS, staged_vectors_table
from schemas.vectors import vectors_table
from spark_jobs.embedding.preflight import PreflightResult
from spark_jobs.embedding.run import Run, record
from spark_jobs.embedding.sampling import find_ranges
from spark_jobs.runtime.threads import together
from spark_jobs.settings.loading import Settings
from spark_jobs.store.fence import Fence, transaction
from spark_jobs.store.locks import store_lock
from spark_jobs.store.runs import events, history, refuse_second
from spark_jobs.store.spaces import ranges_of, register, registered
from spark_jobs.store.tables import SpaceTables, space_tables


def open_run(spark: SparkSession, settings: Settings, checked: PreflightResult, take_over: bool = False) -> Run:
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
    tables = space_tables(spark, settings)
    last, good = history(tables)
    refuse_second(last, settings, take_over)
    number = (last.run_number if last is not None else _number_from_tables(tables)) + 1
    app_id = f"{settings.library}.{settings.space}"
    run = Run(
        number=number,
        run_id=f"{app_id}.{number}",
        settings=settings,
        checked=checked,
        tables=tables,
        fence=Fence(app_id, number),
        owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        before=good,
        is_clean=last.finished if last is not None else number == 1,
    )
    # Of two runs that take one number Delta lets one commit: the other fails, or is passed over in silence.
    with transaction(spark, f"{app_id}.runs", number, run.run_id):
        record(spark, run, STARTED)
    owners = events(tables).where((F.col("run_number") == number) & (F.col("event") == STARTED))
    if [row.owner for row in owners.select("owner").collect()] != [run.owner]:
        raise RunActiveError(f"another run started as {run.run_id} at the same moment: wait for it to end")
    if last is not None and not last.ended:
        _shut_out(spark, run)
    return run


def _number_from_tables(tables: SpaceTables) -> int:
    # Where the record of runs was lost, the tables still know the numbers of their commits and pass over lower ones.
    ids = {run_id for table in ("vectors", LEDGER.name) for run_id in tables.last_committers(table)}
    return max((int(run_id.rpartition(".")[2]) for run_id in ids), default=0)


def _shut_out(spark: SparkSession, run: Run) -> None:
    for table in ("vectors", LEDGER.name):
        nothing = spark.createDataFrame([], run.tables.read(table).schema)
        with run.fence.commit(spark):
            run.tables.append(nothing, table)


def ensure_tables(spark: SparkSession, settings: Settings, checked: PreflightResult) -> PreflightResult:
    """Makes what is missing of the store's and the space's tables, and enters the space into the registry.

    Args:
        spark: The live session.
        settings: The whole configuration.
        checked: What pre-flight found.

    Returns:
        The same, with the space's ranges where numbers are stored as int8.

    Raises:
        InputError: The store cannot be written.
        SourceError: A table has other columns.
    """
    tables = space_tables(spark, settings)
    payload, precision = checked.source.payload, checked.inference.model.precision
    with store_lock(settings):
        for table in (RUNS, SPACES):
            tables.ensure(table)
    staged = (STAGED_CHUNKS, staged_vectors_table(precision))
    own = (vectors_table(payload, precision), LEDGER, plan_table(payload), *staged)
    together(spark, [partial(tables.ensure, table) for table in own])
    # Asked again: another process may have been first while this one waited for the space.
    row = None if precision == "float32" and checked.registered else registered(spark, settings)
    if row is not None or checked.registered:
        ranges = ranges_of(row) if row is not None else None
    else:
        ranges = find_ranges(settings, checked) if precision == "int8" else None
        register(spark, settings, checked.inference.model, checked.chunking, ranges)
    return replace(checked, inference=replace(checked.inference, ranges=ranges))
