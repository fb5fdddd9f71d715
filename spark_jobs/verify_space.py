"""The verify job: every row of a space's vectors and ledger is looked at; a repair has the next run mend them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from schemas.errors import ReconciliationError
from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED, REDO
from schemas.runs import RUNS
from spark_jobs import store
from spark_jobs.checks import FAULTS, NO_ID, NO_LEDGER_ID, ROW_FAULTS, faulty_documents, faulty_rows
from spark_jobs.claims import history
from spark_jobs.guards import exclusive, require_tables
from spark_jobs.ledger_summary import summarise_ledger
from spark_jobs.preflight import chunk_spec, inference_spec
from spark_jobs.repair import mark_documents, remove_rows
from spark_jobs.settings import Settings
from spark_jobs.spaces import check_space, registered

_NAMED = 5
_NAME_CHARACTERS = 80


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Attributes:
        fault: One of `checks.FAULTS`.
        count: Rows or documents that have it, as the fault says.
        examples: Ids of a few of the documents.
    """

    fault: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        """Renders the finding in one line, whatever characters the ids have."""
        shown = ", ".join(ascii(doc_id[:_NAME_CHARACTERS]) for doc_id in self.examples)
        return f"{self.count:,} {self.fault}" + (f": documents such as {shown}" if shown else "")


@dataclass(frozen=True)
class Verification:
    """What a space holds and what is wrong with it.

    Attributes:
        space: Library and space.
        statuses: Documents by status.
        chunks: Rows of vectors.
        waiting: Documents that a repair marked and no run has done again yet.
        findings: What is wrong; empty where nothing is.
        removed: Rows of vectors that this repair took out; None where it was not asked for.
    """

    space: str
    statuses: Mapping[str, int]
    chunks: int
    waiting: int
    findings: tuple[Finding, ...]
    removed: int | None = None

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        return "\n".join(f"{label:<11}{text}" for label, text in self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the summary as pairs.

        Returns:
            Label and text of each line.
        """
        library = " · ".join(f"{self.statuses.get(s, 0):,} {s}" for s in (EMBEDDED, EMPTY, QUARANTINED))
        lines = [("space", self.space), ("library", f"{library} · {self.chunks:,} chunks")]
        lines += [("fault", str(finding)) for finding in self.findings] or [("faults", "none")]
        if self.removed is not None and self.findings:
            lines.append(("repair", f"{self.removed:,} rows taken out of vectors"))
        if self.waiting:
            lines.append(("marked", f"{self.waiting:,} documents, which the next embedlake embed does again"))
        return lines


def run(spark: SparkSession, settings: Settings, *, repair: bool = False) -> Verification:
    """Checks every row of a space.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        repair: Whether to mark what is wrong, so that the next run does it again.

    Returns:
        What was found, ready to be printed; with `repair` also what was marked.

    Raises:
        InputError: The space has no tables, or was made by another model or chunking rule than the settings name.
        RunActiveError: A repair was asked for while a run is at work.
        ReconciliationError: Something is wrong and no repair was asked for.
    """
    with store.delta_session(spark):
        require_tables(spark, settings)
        model = inference_spec(settings).model
        check_space(spark, settings, model, chunk_spec(settings, model))
        if repair:
            with exclusive(spark, settings):
                return _repaired(spark, settings)
        found, _, _ = _verified(spark, settings)
    if found.findings:
        raise ReconciliationError(_message(spark, settings, found))
    return found


def _pinned(spark: SparkSession, place: store.Place, table: str) -> DataFrame:
    # At one version, for several passes and a repair's own commit must not see different rows.
    name = place.name(table)
    version = spark.sql(f"DESCRIBE HISTORY {name} LIMIT 1").collect()[0].version
    return spark.read.option("versionAsOf", version).table(name)


def _verified(spark: SparkSession, settings: Settings) -> tuple[Verification, DataFrame, DataFrame]:
    place = store.place_of(settings)
    ledger, vectors = _pinned(spark, place, LEDGER.name), _pinned(spark, place, "vectors")
    row = registered(spark, settings)
    dimension, is_normalized = (row.dimension, json.loads(row.model)["normalize"]) if row else (0, False)
    rows = faulty_rows(vectors, dimension, is_normalized)
    faults = rows.select("doc_id", "fault").unionByName(faulty_documents(ledger, vectors))
    found = Verification(
        space=f"{settings.library}.{settings.space}",
        statuses=summarise_ledger(ledger).statuses,
        chunks=vectors.count(),
        waiting=ledger.where(F.col("text_hash") == REDO).count(),
        findings=_findings(faults),
    )
    return found, rows, faults
