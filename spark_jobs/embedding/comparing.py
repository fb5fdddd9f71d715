"""The step of a run that compares source and ledger: by the change feed where that is enough, and what it refuses."""

from dataclasses import replace

from pyspark.sql import DataFrame

from schemas.errors import InputError, QuarantineLimitError, ReconciliationError, SourceError
from schemas.ledger import LEDGER
from schemas.plan import ADDED, REMOVED
from spark_jobs.embedding.comparison import Comparison, compare_all
from spark_jobs.embedding.reconcile import check_quarantined
from spark_jobs.embedding.slicing import guard_removals
from spark_jobs.embedding.source_feed import compare_changed, why_no_feed
from spark_jobs.embedding.source_reading import SourceReading
from spark_jobs.embedding.store_state import StoreState
from spark_jobs.runtime.spark_errors import cause_of, is_connection_lost
from spark_jobs.runtime.spark_errors import reading as told_of
from spark_jobs.settings.loading import Settings
from spark_jobs.sources.source import Source, check_ids
from spark_jobs.store.ledger import suspects
from spark_jobs.store.registry import Registry


def compare_source(
    settings: Settings,
    source: Source,
    reading: SourceReading,
    state: StoreState,
    retry_below: int = 0,
    half_done: DataFrame | None = None,
) -> Comparison:
    """Compares the source with the ledger; writes nothing.

    Args:
        settings: The whole configuration.
        source: The opened source.
        reading: What other spaces share of it.
        state: The store.
        retry_below: Quarantined documents with fewer attempts are tried again.
        half_done: Documents (`doc_id`) that an earlier run left half done, or None.

    Returns:
        How they differ.

    Raises:
        InputError: The source cannot be read, or ids do not identify documents.
        SourceError: `source.track` is `feed`, and the feed cannot be used.
    """
    track = settings.source.track
    gap, fault = why_no_feed(state, settings, source, bool(retry_below)), "cannot be used"
    if half_done is not None:
        gap = "the last run left documents half done"
    if track != "compare" and gap is None and state.before is not None and source.version is not None:
        since = int(state.before.source_version)
        (found, gap), fault = _by_feed(state, settings, source, reading, since), "has a gap"
        if found is not None:
            return replace(found, how=f"change feed since version {since}")
    if track == "feed" and gap is not None and state.before is not None:
        raise SourceError(f"the change feed {fault}: {gap}. Set source.track to auto for a full comparison.")
    try:
        documents = reading.documents(settings.source, source)
        found = compare_all(documents, state.read_ledger(), half_done, retry_below)
    except Exception as error:  # PySpark raises it if a plan is invalid, Py4J if a file cannot be read
        if is_connection_lost(error):
            raise
        # Reads the source alone, and says what is wrong with it.
        check_ids(source, settings.source)
        with told_of("the source and the ledger"):
            raise
    if not found.are_ids_sound:
        check_ids(source, settings.source)
        raise ReconciliationError("the source changed while it was read. Run again.")
    return found if track == "compare" or gap is None else replace(found, how=f"full comparison: {gap}")


def _by_feed(
    state: StoreState, settings: Settings, source: Source, reading: SourceReading, since: int
) -> tuple[Comparison | None, str | None]:
    """Compares by the change feed; returns a comparison, or why there is none."""
    try:
        found = compare_changed(state, settings.source, source, since + 1, source.version or 0, reading)
    except Exception as error:  # PySpark raises it if a version is gone, Py4J if a file is
        if is_connection_lost(error):
            raise
        return None, f"its history cannot be read: {cause_of(error)}"
    return found, None if found is not None else "its rows and the ledger contradict each other, or are too many"


def check_comparison(settings: Settings, registry: Registry, found: Comparison, allow_removals: bool) -> None:
    """Refuses a source that has lost more documents than the settings allow, or that has none and never had.

    Args:
        settings: The whole configuration.
        registry: What the store's registry says of the library.
        found: How source and ledger differ.
        allow_removals: Whether more documents than `run.max_removed_fraction` may be removed.

    Raises:
        InputError: It is refused.
    """
    if not found.documents and registry.row is None:
        raise InputError("the source has no documents. Check source.path, source.table and source.filter.")
    if not allow_removals:
        check_removals(settings, found)


def check_removals(settings: Settings, found: Comparison) -> None:
    """Raises InputError if the source has lost more documents than the settings allow."""
    removed = found.by_change[REMOVED]
    known = found.documents - found.by_change[ADDED] + removed
    guard_removals(removed, known, found.documents, settings.run.max_removed_fraction)


def is_in_step(settings: Settings, state: StoreState, found: Comparison) -> bool:
    """Whether nothing is to be done and nothing is in doubt, so that a run can end at once.

    Args:
        settings: The whole configuration.
        state: The store.
        found: How source and ledger differ.

    Returns:
        Whether no document differs, `vectors` has as many rows as the ledger says, few enough documents are
        quarantined, and no full check is due.
    """
    if found.planned or not state.is_loaded:
        return False
    if state.is_check_due(settings.run.full_check_every) or found.ledger.documents != found.documents:
        return False
    try:
        check_quarantined(found.ledger, settings)
    except QuarantineLimitError:
        return False
    # Delta's log knows how many rows there are.
    return state.tables.read(state.vectors.name).count() == found.ledger.chunks


def find_half_done(state: StoreState) -> DataFrame | None:
    """Finds documents (`doc_id`) that an earlier run left half done; None if there are none."""
    if state.was_clean or not state.is_loaded:
        return None
    half_done = suspects(state.tables.read(LEDGER.name), state.tables.read(state.vectors.name))
    return None if half_done.isEmpty() else half_done
