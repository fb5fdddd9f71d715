"""What a run would do now: source compared with ledger, counted but not written."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Row, SparkSession

from schemas.errors import InputError
from schemas.plan import CHANGE_WORDS
from spark_jobs.embedding.comparing import check_removals, compare_source, find_half_done
from spark_jobs.embedding.folder import look_at_folder, with_files, with_parsed
from spark_jobs.embedding.source_reading import SourceReading
from spark_jobs.embedding.store_state import look_at_store
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings
from spark_jobs.sources.source import open_source
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
    state = look_at_store(spark, settings)
    version = None
    try:
        registered(spark, settings)
        settings = with_parsed(spark, settings)
        source = open_source(spark, settings.source, lambda: stored_types(tables))
        version = source.version
        folder = look_at_folder(spark, settings, source) if settings.source.is_parsed else None
        found = compare_source(settings, source, SourceReading(), state, half_done=find_half_done(state))
        found = with_files(found, folder)
    except InputError as error:
        return Backlog({}, version, state.before, error.faults)
    except Exception as error:  # PySpark raises it if a plan is invalid, Py4J if a file cannot be read
        return Backlog({}, version, state.before, (f"the source cannot be compared: {cause_of(error)}",))
    faults: tuple[str, ...] = ()
    try:
        check_removals(settings, found)
    except InputError as error:
        faults = error.faults
    notes = source.notes if folder is None else (f"files: {folder.counts}", *folder.listing.notes)
    return Backlog(found.all_changes, version, state.before, faults, " · ".join(notes))
