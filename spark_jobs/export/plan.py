"""How an export finds the rows to send, decided from the record of the target without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.exports import COMPARISON, FULL, INCREMENTAL
from schemas.runs import FINISHED

Mode = Literal["full", "incremental", "comparison"]


@dataclass(frozen=True, slots=True)
class ExportEvent:
    """One event in the record of exports to a target.

    Attributes:
        number: Number of the export.
        event: Whether it started or finished.
        owner: Host, process and a random word.
        table_id: Delta's id of the exported table.
        model_fingerprint: Hash of everything that determines a vector.
        version: Exported version of the table.
        had_rows: Whether the target may have held rows of the space before it.
        rows: Rows of the target at its end; None if it has only started.
    """

    number: int
    event: str
    owner: str
    table_id: str
    model_fingerprint: str
    version: int
    had_rows: bool
    rows: int | None


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """How an export finds the rows to send.

    Attributes:
        mode: `full` sends every row, `incremental` those in the table's change feed since the last export, `comparison`
            those that differ from the target's by ids.
        why: The explanation, in words.
        since: The version of the last export, if incremental.
        trusts_runs: Whether rows of target and table with equal chunk_id and run_id are known to be equal.
    """

    mode: Mode
    why: str
    since: int | None = None
    trusts_runs: bool = False

    def __str__(self) -> str:
        """Renders the plan in a few words."""
        return f"{self.mode}: {self.why}"


@dataclass(frozen=True, slots=True)
class TableVersion:
    """The rows that are exported.

    Attributes:
        table_id: Delta's id of the table.
        model_fingerprint: Hash of everything that determines a vector.
        version: Version of the table.
    """

    table_id: str
    model_fingerprint: str
    version: int


def decide(
    events: Sequence[ExportEvent], table: TableVersion, held: int | None, full: bool, replaced: str | None = None
) -> ExportPlan:
    """Chooses the cheapest safe plan.

    Args:
        events: The record of exports of the space to the target, newest first.
        table: The rows to export.
        held: Number of rows in the target; None if it has none of the space.
        full: Whether `--full` was given.
        replaced: Another space of the library, whose rows the target holds; None if it holds none of another.

    Returns:
        The plan. An incremental one is only possible if the change feed reaches back far enough.
    """
    if full:
        return ExportPlan(FULL, "asked for by --full")
    if replaced is not None:
        return ExportPlan(FULL, f"the target holds the rows of space {replaced}")
    if held is None:
        return ExportPlan(
            FULL, "the target holds no rows of the space" + (" any more" if _had_some(events) else " yet")
        )
    doubt = _doubt(events, table, held)
    if doubt is None:
        last = events[0].version
        return ExportPlan(INCREMENTAL, f"by the change feed since version {last}", last, trusts_runs=True)
    return ExportPlan(COMPARISON, doubt, trusts_runs=_trusts_runs(events, table))


def without_feed(plan: ExportPlan, cause: str) -> ExportPlan:
    """Replaces an incremental plan by a comparison, because of an error of the change feed."""
    why = f"the change feed since version {plan.since} cannot be read: {cause}"
    return ExportPlan(COMPARISON, why, trusts_runs=plan.trusts_runs)


def _had_some(events: Sequence[ExportEvent]) -> bool:
    return any(event.event == FINISHED and event.rows for event in events)


def _doubt(events: Sequence[ExportEvent], table: TableVersion, held: int) -> str | None:
    """Explains why the target may differ from what the last export left; None if it does not."""
    if not events:
        return "the target holds rows of the space, and no export to it is on record"
    last = events[0]
    if last.event != FINISHED:
        return "the last export did not finish"
    if last.table_id != table.table_id:
        return "the table is another one than the last export read"
    if last.model_fingerprint != table.model_fingerprint:
        return "the last export was of another model's vectors"
    if last.version > table.version:
        return "the table's version went back"
    if last.rows != held:
        return f"the target holds {held:,} rows, and the last export left {last.rows or 0:,}"
    return None


def _trusts_runs(events: Sequence[ExportEvent], table: TableVersion) -> bool:
    """Whether every row of the target came from this same table.

    Each run gives the rows that it writes its own id, so within one table an equal run_id means an equal row. A table
    that was created anew or restored from a copy may use the same ids again.
    """
    for event in events:
        is_same = event.table_id == table.table_id and event.model_fingerprint == table.model_fingerprint
        if not is_same or event.version > table.version:
            return False
        # Exports before a finished one, or before one that found no rows, have left none behind.
        if event.event == FINISHED or not event.had_rows:
            return True
    return False
