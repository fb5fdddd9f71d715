"""Making the tables of a space on its first run."""

from dataclasses import replace
from functools import partial

from pyspark.sql import SparkSession

from schemas.ledger import LEDGER
from schemas.plan import plan_table
from schemas.runs import RUNS
from schemas.spaces import SPACES
from schemas.staged_chunks import STAGED_CHUNKS
from schemas.staged_vectors import STAGED_VECTORS, staged_vectors_table
from schemas.vectors import vectors_table
from spark_jobs import store
from spark_jobs.locks import store_lock
from spark_jobs.preflight import Checked
from spark_jobs.ranges import find_ranges
from spark_jobs.settings import Settings
from spark_jobs.side_thread import together
from spark_jobs.spaces import ranges_of, register, registered

STAGED = (STAGED_CHUNKS, STAGED_VECTORS)


def ensure_tables(spark: SparkSession, settings: Settings, checked: Checked) -> Checked:
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
    place = store.place_of(settings)
    payload, precision = checked.source.payload, checked.inference.model.precision
    with store_lock(settings):
        for table in (RUNS, SPACES):
            store.ensure_table(spark, place, table)
    staged = (STAGED_CHUNKS, staged_vectors_table(precision))
    own = (vectors_table(payload, precision), LEDGER, plan_table(payload), *staged)
    together(spark, [partial(store.ensure_table, spark, place, table) for table in own])
    # Asked again: another process may have been first while this one waited for the space.
    row = None if precision == "float32" and checked.registered else registered(spark, settings)
    if row is not None or checked.registered:
        ranges = ranges_of(row) if row is not None else None
    else:
        ranges = find_ranges(settings, checked) if precision == "int8" else None
        register(spark, settings, checked.inference.model, checked.chunking, ranges)
    return replace(checked, inference=replace(checked.inference, ranges=ranges))
