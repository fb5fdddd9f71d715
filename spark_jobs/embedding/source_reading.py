"""What the runs of several spaces share of their library's source: it is opened once, and hashed once."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DataType
from pyspark.storagelevel import StorageLevel

from spark_jobs.embedding.comparison import grouped_documents
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.source import Source, open_source, source_state

Known = Callable[[], Mapping[str, DataType]]


class SourceReading:
    """A source as runs that follow each other read it; the runs of one space alone share nothing.

    Args:
        is_shared: Whether more than one run reads it.
    """

    def __init__(self, is_shared: bool = False) -> None:
        self._is_shared = is_shared
        # Settings compare by value, and sources by identity.
        self._opened: list[tuple[SourceSettings, dict[str, DataType], str | None, Source]] = []
        self._hashed: list[tuple[Source, DataFrame]] = []
        self._candidates: dict[tuple[str | None, int, int], pa.Table] = {}

    def open(self, spark: SparkSession, settings: SourceSettings, known: Known) -> Source:
        """Opens the source, or returns it as an earlier run has opened it.

        Files are opened again if they have changed meanwhile, because texts are read later than hashes, and both have
        to be of one state. So is a view, which does not tell, and JSON whose files have other types for this space.

        Args:
            spark: The live session.
            settings: Where it is, and what its columns mean.
            known: Finds the types of the space's columns by name.

        Returns:
            The source.

        Raises:
            InputError: As `open_source` says.
        """
        if not self._is_shared:
            return open_source(spark, settings, known)
        is_typed = settings.format == "json" and settings.payload_columns
        found = known() if is_typed else {}
        types = {name: found[name] for name in settings.payload_columns if name in found}
        # Before it is opened: what changes in between is seen as a change.
        state = source_state(spark, settings) if not settings.is_table else None
        for other, other_types, at, source in self._opened:
            is_same = source.version is not None or (state is not None and state == at)
            if is_same and (other, other_types) == (settings, types):
                return source
        # Spark takes files for the same as long as their folder is, and would answer with the hashes that it keeps.
        self.close()
        source = open_source(spark, settings, lambda: found)
        self._opened.append((settings, types, state, source))
        return source

    def documents(self, settings: SourceSettings, source: Source) -> DataFrame:
        """Hashes the documents of an opened source: rows of `grouped_documents`, kept until the last run has ended."""
        kept = next((rows for other, rows in self._hashed if other is source), None)
        if kept is not None:
            return kept
        rows = grouped_documents(settings, source)
        if self._is_shared:
            # Serverless compute keeps nothing; each run then hashes the same version.
            with suppress(PySparkException):
                rows = rows.persist(StorageLevel.DISK_ONLY)
            self._hashed.append((source, rows))
        return rows

    def candidates(self, source: Source, first: int, last: int, find: Callable[[], pa.Table]) -> pa.Table:
        """Returns what the change feed from `first` to `last` names, found by `find` or for an earlier run."""
        if not self._is_shared:
            return find()
        key = (source.rule, first, last)
        if key not in self._candidates:
            self._candidates[key] = find()
        return self._candidates[key]

    def close(self) -> None:
        """Lets Spark forget the hashes."""
        for _, rows in self._hashed:
            # A session that is gone has forgotten them.
            with suppress(Exception):
                rows.unpersist()
        self._hashed.clear()


@contextmanager
def shared_reading(is_shared: bool = True) -> Iterator[SourceReading]:
    """Shares the reading of a source among the runs in a block; see `SourceReading`."""
    reading = SourceReading(is_shared)
    try:
        yield reading
    finally:
        reading.close()
