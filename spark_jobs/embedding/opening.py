"""Opening a run: its tables, its space's row in the registry, and its claim to the space."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pyspark.sql import SparkSession

from schemas.format import FORMAT
from schemas.ledger import LEDGER
from schemas.plan import plan_table
from schemas.runs import RUNS, STARTED
from schemas.spaces import SPACES
from schemas.staged import STAGED_CHUNKS, staged_vectors_table
from schemas.table import Table
from schemas.vectors import vectors_table
from spark_jobs.embedding.preflight import PreflightResult
from spark_jobs.embedding.run import Run, recorded_values
from spark_jobs.embedding.sampling import measure_ranges
from spark_jobs.runtime.threads import together
from spark_jobs.settings.loading import Settings
from spark_jobs.store.claims import claim_space
from spark_jobs.store.format import raise_format
from spark_jobs.store.locks import store_lock
from spark_jobs.store.runs import history, refuse_second
from spark_jobs.store.spaces import check_format, ranges_of, register, spaces_of_library
from spark_jobs.store.tables import space_tables


def create_tables(
    spark: SparkSession, settings: Settings, preflight: PreflightResult, say: Callable[[str], None]
) -> frozenset[str]:
    """Creates the tables of store and space that do not exist, and brings those of an earlier version up to date.

    Args:
        spark: A live session.
        settings: The whole configuration.
        preflight: What pre-flight found.
        say: Receives a sentence about each table that was brought up to date.

    Returns:
        Names of the tables that are new, hence empty: nothing needs to be read from them.

    Raises:
        InputError: The store cannot be written; a SourceError if a table has different columns.
    """
    tables = space_tables(spark, settings)
    payload, precision = preflight.source.payload, preflight.inference.model.precision
    made: set[str] = set()

    def ensure(table: Table) -> None:
        if tables.ensure(table, say):
            made.add(table.name)

    with store_lock(settings):
        for table in (RUNS, SPACES):
            ensure(table)
        # Before any table of the space changes, earlier versions must be able to tell why they are refused.
        if SPACES.name not in made and check_format(tables) < FORMAT:
            raise_format(spark, tables.name(SPACES.name))
    staged = (STAGED_CHUNKS, staged_vectors_table(precision))
    of_space = (vectors_table(payload, precision), LEDGER, plan_table(payload), *staged)
    together(spark, [partial(ensure, table) for table in of_space])
    return frozenset(made)


def register_space(
    spark: SparkSession, settings: Settings, preflight: PreflightResult, made: frozenset[str]
) -> PreflightResult:
    """Adds a new space to the registry; for int8, first loads the model to measure the range of each number.

    Args:
        spark: A live session.
        settings: The whole configuration.
        preflight: What pre-flight found.
        made: Names of the tables that are new.

    Returns:
        The same with the space's ranges, measured now or earlier; None unless the space stores int8.
    """
    precision = preflight.inference.model.precision
    if precision == "float32" and preflight.registered:
        return preflight
    # Looked up again: another process may have registered the space while this one waited for its lock.
    spaces = [] if SPACES.name in made else spaces_of_library(spark, settings)
    row = next((space for space in spaces if space.space == settings.space), None)
    if row is not None:
        ranges = ranges_of(row)
    else:
        ranges = measure_ranges(settings, preflight) if precision == "int8" else None
        model, chunking = preflight.inference.model, preflight.chunking
        register(spark, settings, model, chunking, ranges, is_first=not spaces)
    return replace(preflight, inference=replace(preflight.inference, ranges=ranges))


def open_run(
    spark: SparkSession,
    settings: Settings,
    preflight: PreflightResult,
    made: frozenset[str],
    take_over: bool = False,
) -> Run:
    """Takes the next run number of the space, and shuts out every earlier run.

    Args:
        spark: A live session.
        settings: The whole configuration.
        preflight: What pre-flight found.
        made: Names of the tables that are new.
        take_over: Whether to start although another run has not finished.

    Returns:
        The run.

    Raises:
        RunActiveError: Another run is active, or took the number first.
    """
    tables = space_tables(spark, settings)
    last, last_finished = (None, None) if RUNS.name in made else history(tables)
    refuse_second(last, settings, take_over)
    claim = claim_space(tables, settings, last, STARTED, recorded_values(preflight), made)
    return Run(claim=claim, settings=settings, preflight=preflight, tables=tables, before=last_finished)
