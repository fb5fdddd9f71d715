"""Whether a space can take the place of the active one: complete, in step with it, and covering its documents."""

from dataclasses import dataclass

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.ledger import EMBEDDED, LEDGER
from spark_jobs.settings.loading import Settings
from spark_jobs.store.registry import Registry
from spark_jobs.store.runs import library_histories
from spark_jobs.store.spaces import unknown_space
from spark_jobs.store.tables import SpaceTables, space_tables, tables_of_row


@dataclass(frozen=True)
class Candidate:
    """A space that may become the active one of its library.

    Attributes:
        row: Its row in the registry.
        tables: Its tables.
        finished: Its last finished run, as `library_histories` finds it; None if none has finished.
        active: The row of the active space.
        active_tables: The tables of the active space.
        active_finished: The last finished run of the active space; None if none has finished.
    """

    row: Row
    tables: SpaceTables
    finished: Row | None
    active: Row
    active_tables: SpaceTables
    active_finished: Row | None


@dataclass(frozen=True)
class LedgerAgreement:
    """How the ledgers of a candidate and the active space agree.

    Attributes:
        documents: Documents that the active space has embedded.
        covered: How many of them the candidate has embedded too.
        behind: Documents of the active space that the candidate lacks, or has with a different text, and documents that
            only the candidate has.
    """

    documents: int
    covered: int
    behind: int

    @property
    def coverage(self) -> float:
        """Share of the active space's documents that the candidate has embedded; 1 if there are none."""
        return self.covered / self.documents if self.documents else 1.0


def find_candidate(
    spark: SparkSession, settings: Settings, registry: Registry, space: str, must_be_complete: bool = True
) -> Candidate:
    """Finds a space that has vectors, and whose last run has finished.

    Args:
        spark: The live session, with the properties of `delta_session`.
        settings: Names the library and its store.
        registry: The registry; the space is not its active one.
        space: Name of the space.
        must_be_complete: Whether its last run must have finished. If not, it may be amid a refresh, but no document is
            ever missing because of that.

    Returns:
        The candidate.

    Raises:
        InputError: The space does not exist or was dropped, is being built, or is empty.
    """
    row, active = registry.find(space), registry.active
    if row is None or active is None:
        raise unknown_space(registry, settings.library, space)
    histories = library_histories(space_tables(spark, settings))
    history, before = histories.get(space), histories.get(active.space)
    name, finished = f"{settings.library}.{space}", history.finished if history is not None else None
    if must_be_complete and (history is None or finished is None or not history.last.clean):
        state = "its last run has not finished" if history is not None else "no run has finished yet"
        raise InputError(f"space {name} is not complete: {state}. Run embedlake embed for it first.")
    tables = tables_of_row(spark, settings.store, row)
    missing = [table for table in ("vectors", LEDGER.name) if not tables.exists(table)]
    if missing or tables.read("vectors").isEmpty():
        raise InputError(f"space {name} is empty. Run embedlake embed for it first.")
    return Candidate(
        row=row,
        tables=tables,
        finished=finished,
        active=active,
        active_tables=tables_of_row(spark, settings.store, active),
        active_finished=before.finished if before is not None else None,
    )


def compare_ledgers(tables: SpaceTables, other: SpaceTables) -> LedgerAgreement:
    """Compares the documents of a space with those of the active one by the hashes of their texts.

    Args:
        tables: The tables of the space.
        other: The tables of the active space; without a ledger, it has no documents.

    Returns:
        How they agree.
    """
    if not other.exists(LEDGER.name):
        return LedgerAgreement(0, 0, 0)
    mine, theirs = _hashes(tables.read(LEDGER.name), "mine"), _hashes(other.read(LEDGER.name), "theirs")
    is_theirs = F.col("theirs.status") == EMBEDDED
    row = (
        mine.join(theirs, "doc_id", "full_outer")
        .agg(
            F.count_if(is_theirs).alias("documents"),
            F.count_if(is_theirs & (F.col("mine.status") == EMBEDDED)).alias("covered"),
            F.count_if(~F.col("mine.text_hash").eqNullSafe(F.col("theirs.text_hash"))).alias("behind"),
        )
        .collect()[0]
    )
    return LedgerAgreement(row.documents, row.covered, row.behind)


def _hashes(ledger: DataFrame, name: str) -> DataFrame:
    return ledger.select("doc_id", F.struct("text_hash", "status").alias(name))


def step_fault(candidate: Candidate, agreement: LedgerAgreement) -> str | None:
    """Explains why a candidate is older than the active space; None if it is in step with it, or newer.

    Where both read the same source and it has versions, these decide. Elsewhere equal documents are in step, and of
    two spaces that differ, the one whose last run finished later is newer.

    Args:
        candidate: The candidate.
        agreement: How its ledger agrees with that of the active space.

    Returns:
        The cause and the remedy, or None.
    """
    mine, theirs = candidate.finished, candidate.active_finished
    space, active = candidate.row.space, candidate.active.space
    remedy = f"Run embedlake embed for space {space} first."
    if mine is None or theirs is None:
        return None
    versions = _versions(mine, theirs)
    if versions is not None:
        if versions[0] >= versions[1]:
            return None
        return (
            f"space {space} has version {versions[0]} of the source, and the active space {active} has version "
            f"{versions[1]}. {remedy}"
        )
    if not agreement.behind or mine.event_time >= theirs.event_time:
        return None
    return f"space {space} is older than the active space {active}: {agreement.behind:,} documents differ. {remedy}"


def _versions(mine: Row | None, theirs: Row | None) -> tuple[int, int] | None:
    """Returns the versions of the source that two runs read, if it was the same source and has versions."""
    if mine is None or theirs is None:
        return None
    sources = [(run.source_id or "").partition(" ")[0] for run in (mine, theirs)]
    if not sources[0] or sources[0] != sources[1] or mine.source_version is None or theirs.source_version is None:
        return None
    return int(mine.source_version), int(theirs.source_version)


def lag_of(candidate: Candidate, agreement: LedgerAgreement) -> str:
    """Says in words how far a space is behind the active one."""
    if not agreement.behind:
        return "not behind: it has the same documents"
    versions = _versions(candidate.finished, candidate.active_finished)
    told = f"{agreement.behind:,} documents differ from those of {candidate.active.space}"
    return told if versions is None else f"{told}; source version {versions[0]} instead of {versions[1]}"
