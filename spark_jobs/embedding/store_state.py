"""What a run finds in the store before it writes anything: which tables there are, and how the last runs ended."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pyspark.sql import DataFrame, Row, SparkSession

from schemas.errors import InputError
from schemas.format import FORMAT
from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED
from schemas.runs import RUNS
from schemas.spaces import SPACES
from schemas.table import Table
from schemas.vectors import PAGE_FIELDS, vectors_table
from spark_jobs.embedding.preflight import PreflightResult
from spark_jobs.runtime.threads import together
from spark_jobs.settings.loading import Settings
from spark_jobs.store.format import raise_format
from spark_jobs.store.locks import store_lock
from spark_jobs.store.removal import is_left
from spark_jobs.store.runs import history, refuse_second
from spark_jobs.store.tables import SpaceTables, space_tables
from udfs.chunk_documents import optional_columns

# Up to so many documents, one pass over all takes no longer than two over some.
_LARGE = 50_000


@dataclass(frozen=True)
class StoreState:
    """The store, as a run that holds the space's lock finds it.

    Attributes:
        tables: The space's tables.
        vectors: The table `vectors`, as this run makes or extends it.
        existing: Names of the tables that exist, among `runs`, `spaces`, `vectors` and `ledger`.
        last: The last run or maintenance of the space, as `history` finds it; or None.
        before: The latest finished run, as `history` finds it; or None.
    """

    tables: SpaceTables
    vectors: Table
    existing: frozenset[str]
    last: Row | None
    before: Row | None

    @property
    def was_clean(self) -> bool:
        """Whether all that began earlier has finished, so that no document is half done and nobody else commits."""
        if self.last is not None:
            return bool(self.last.clean)
        return not self.existing & {self.vectors.name, LEDGER.name}

    @property
    def documents(self) -> int:
        """Documents in the ledger when the last run finished; 0 if none has."""
        counts = self.before.counts or {} if self.before is not None else {}
        return sum(counts.get(f"library_{status}", 0) for status in (EMBEDDED, EMPTY, QUARANTINED))

    @property
    def is_large(self) -> bool:
        """Whether it pays to spare rows that a small run does not touch."""
        return self.documents > _LARGE

    @property
    def is_loaded(self) -> bool:
        """Whether both `vectors` and `ledger` exist."""
        return self.existing >= {self.vectors.name, LEDGER.name}

    def read_ledger(self) -> DataFrame:
        """Reads the ledger; it has no rows if the table does not exist."""
        if LEDGER.name in self.existing:
            return self.tables.read(LEDGER.name)
        return self.tables.spark.createDataFrame([], LEDGER.schema)

    def is_check_due(self, every: int) -> bool:
        """Whether the next run is one of those that read everything."""
        number = (self.last.run_number if self.last is not None else 0) + 1
        return number % every == 0


def read_store(
    spark: SparkSession,
    settings: Settings,
    preflight: PreflightResult,
    take_over: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> StoreState:
    """Finds the state of the store, and brings tables of an earlier version up to date.

    Args:
        spark: A live session.
        settings: The whole configuration.
        preflight: What pre-flight found.
        take_over: Whether to go on although another run has not finished.
        say: Receives a sentence about each table that was brought up to date.

    Returns:
        The state.

    Raises:
        InputError: The store cannot be written, or a dropped space is not removed yet; a SourceError if a table has
            other columns than the source.
        RunActiveError: Another run is active.
    """
    tables = space_tables(spark, settings)
    payload = [field for field in preflight.source.payload if field.name in settings.source.payload_columns]
    optional = [*optional_columns(preflight.chunking), *(PAGE_FIELDS if settings.source.is_parsed else ())]
    vectors = vectors_table(payload, preflight.inference.model.precision, optional)
    existing: set[str] = set()

    def complete(table: Table) -> None:
        if tables.complete(table, say):
            existing.add(table.name)

    if preflight.registry.format is not None:
        with store_lock(settings):
            # Before any table of the space changes, earlier versions must be able to tell why they are refused.
            if preflight.registry.format < FORMAT:
                raise_format(spark, tables.name(SPACES.name))
            together(spark, [partial(complete, table) for table in (RUNS, SPACES)])
    # A store whose registry was lost may have the others.
    together(spark, [partial(complete, table) for table in (RUNS, vectors, LEDGER) if table.name not in existing])
    if preflight.registry.was_dropped and is_left(tables):
        name = f"{settings.library}.{settings.space}"
        raise InputError(
            f"space {name} was dropped, but not all of it is removed yet. Run embedlake drop --space {settings.space} "
            "again."
        )
    last, before = history(tables) if RUNS.name in existing else (None, None)
    refuse_second(last, settings, take_over)
    return StoreState(tables, vectors, frozenset(existing), last, before)


def look_at_store(spark: SparkSession, settings: Settings) -> StoreState:
    """Finds the state of the store as it is, for those who only want to know; writes nothing.

    Args:
        spark: A live session.
        settings: The whole configuration.

    Returns:
        The state; a run may be at work. Its `vectors` only names the table.
    """
    tables = space_tables(spark, settings)
    vectors = vectors_table()
    existing = frozenset(name for name in (RUNS.name, SPACES.name, vectors.name, LEDGER.name) if tables.exists(name))
    last, before = history(tables) if RUNS.name in existing else (None, None)
    return StoreState(tables, vectors, existing, last, before)
