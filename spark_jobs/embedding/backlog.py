"""What a run would do now: source compared with ledger, counted but not written."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.ledger import LEDGER
from schemas.plan import ADDED, CHANGE_WORDS, CHANGES, REMOVED, UNCHANGED
from schemas.runs import RUNS
from spark_jobs.embedding.documents import as_documents, only_differing, only_removed
from spark_jobs.embedding.slicing import guard_removals
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings
from spark_jobs.sources.source import Source, check_ids, open_source
from spark_jobs.store.ledger import suspects
from spark_jobs.store.runs import history
from spark_jobs.store.spaces import registered
from spark_jobs.store.tables import space_tables, stored_types


@dataclass(frozen=True)
class Backlog:
    """How the source and the settings' space differ.

    Attributes:
        documents: Documents by change, unchanged ones included; empty if the source cannot be read.
        version: The source's newest version; None if it has none.
        last_finished: The space's last finished run (run_number, source_version), or None.
        faults: Why a run would refuse the source; empty if it would not.
        note: What a person should know of the source; may be empty.
    """

    documents: Mapping[str, int]
    version: int | None
    last_finished: Row | None
    faults: tuple[str, ...]
    note: str = ""

    def lines(self) -> list[tuple[str, str]]:
        """Renders the backlog as pairs of label and text."""
        lines = [("fault", f"a run would stop here: {fault}") for fault in self.faults]
        if self.documents:
            changes = " · ".join(f"{self.documents[change]:,} {words}" for change, words in CHANGE_WORDS.items())
            lines.append(("backlog", changes))
            version = "without versions" if self.version is None else f"at version {self.version}"
            lines.append(("source", f"{version}; {self._what_was_read()}"))
        if self.note:
            lines.append(("note", self.note))
        return lines

    def _what_was_read(self) -> str:
        run = self.last_finished
        if run is None:
            return "no run has finished yet"
        state = "its state at the time" if run.source_version is None else f"version {run.source_version}"
        return f"the last finished run, number {run.run_number}, read {state}"


def backlog_of(spark: SparkSession, settings: Settings) -> Backlog:
    """Counts what a run of the settings' space would do now; an unreadable source becomes a fault in the result."""
    tables = space_tables(spark, settings)
    last, last_finished = history(tables) if tables.exists(RUNS.name) else (None, None)
    version = None
    try:
        registered(spark, settings)
        source = open_source(spark, settings.source, lambda: stored_types(tables))
        version = source.version
        left = check_ids(source, settings.source)
        # The next run redoes what an unfinished run left half done.
        documents = _counted(spark, settings, source, left, is_clean=last is None or last.clean)
    except InputError as error:
        return Backlog({}, version, last_finished, error.faults)
    except Exception as error:  # PySpark raises it if a plan is invalid, Py4J if a file cannot be read
        return Backlog({}, version, last_finished, (f"the source cannot be compared: {cause_of(error)}",))
    known = left - documents[ADDED] + documents[REMOVED]
    faults: tuple[str, ...] = ()
    try:
        guard_removals(documents[REMOVED], known, left, settings.run.max_removed_fraction)
    except InputError as error:
        faults = error.faults
    return Backlog(documents, version, last_finished, faults, " · ".join(source.notes))


def _counted(spark: SparkSession, settings: Settings, source: Source, left: int, is_clean: bool) -> dict[str, int]:
    tables = space_tables(spark, settings)
    by_change: dict[str, int] = {ADDED: left}
    if tables.exists(LEDGER.name):
        ledger = tables.read(LEDGER.name)
        half_done = None if is_clean else suspects(ledger, tables.read("vectors"))
        documents = as_documents(source.rows, settings.source, source.payload)
        by_change = _by_change(only_differing(documents, ledger, half_done), only_removed(ledger, documents, half_done))
    counts = {change: by_change.get(change, 0) for change in CHANGES}
    return {**counts, UNCHANGED: left - sum(counts[change] for change in CHANGES if change != REMOVED)}


def _by_change(differing: DataFrame, removed: DataFrame) -> dict[str, int]:
    changes = differing.select("change").unionByName(removed.select("change"))
    rows = changes.groupBy("change").agg(F.count(F.lit(1)).alias("documents")).collect()
    return {row.change: row.documents for row in rows}
