"""Opening a run: its space's row in the registry, and its claim to the space."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyspark.sql import SparkSession

from schemas.documents import DOCUMENTS
from schemas.ledger import LEDGER
from schemas.runs import STARTED
from spark_jobs.embedding.preflight import PreflightResult
from spark_jobs.embedding.run import Run, recorded_values
from spark_jobs.embedding.sampling import measure_ranges
from spark_jobs.embedding.store_state import StoreState
from spark_jobs.settings.loading import Settings
from spark_jobs.store.claims import claim_space
from spark_jobs.store.locks import SpaceLock
from spark_jobs.store.spaces import ranges_of, register


def register_space(
    spark: SparkSession, settings: Settings, preflight: PreflightResult, state: StoreState
) -> PreflightResult:
    """Adds a new space to the registry; for int8, first loads the model to measure the range of each number.

    Args:
        spark: A live session.
        settings: The whole configuration.
        preflight: What pre-flight found.
        state: The store as the run found it.

    Returns:
        The same with the space's ranges, measured now or earlier; None unless the space stores int8.
    """
    row = preflight.registry.row
    if row is not None:
        ranges = ranges_of(row)
    else:
        model, chunking = preflight.inference.model, preflight.chunking
        ranges = measure_ranges(settings, preflight) if model.precision == "int8" else None
        if state.tables.location.view is not None:
            # The library's view needs a table.
            state.tables.ensure(state.vectors)
        row = register(spark, settings, model, chunking, ranges)
        ranges = ranges_of(row) if row is not None else ranges
    return replace(preflight, inference=replace(preflight.inference, ranges=ranges))


def open_run(
    settings: Settings,
    preflight: PreflightResult,
    state: StoreState,
    lock: SpaceLock,
    event: str = STARTED,
    values: Mapping[str, Any] | None = None,
) -> Run:
    """Takes the next run number of the space, and shuts out every earlier run.

    Args:
        settings: The whole configuration.
        preflight: What pre-flight found.
        state: The store as the run found it.
        lock: What keeps other processes of this machine away.
        event: How the beginning is recorded.
        values: Further columns of that event.

    Returns:
        The run.

    Raises:
        RunActiveError: Another run took the number first.
    """
    recorded = {**recorded_values(preflight), **(values or {})}
    fenced = (state.vectors, LEDGER, *([DOCUMENTS] if settings.source.is_parsed else []))
    claim = claim_space(state.tables, settings, state.last, event, recorded, lock, fenced)
    return Run(claim=claim, settings=settings, preflight=preflight, state=state)
