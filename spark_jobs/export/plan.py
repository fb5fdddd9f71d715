"""How an export finds what it has to send: decided from what is on record of the target, without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.exports import COMPARISON, FULL, INCREMENTAL
from schemas.runs import FINISHED

Mode = Literal["full", "incremental", "comparison"]


@dataclass(frozen=True, slots=True)
class ExportEvent:
    """What the record says of an export to the target.

    Attributes:
        number: Number of the export.
        event: Whether it started or finished.
        owner: Who it was.
        table_id: Delta's id of the table it read.
        model_fingerprint: Hash of everything that decides a vector.
        version: Version of the table it read.
        had_rows: Whether the target may have held rows of the space before it.
        rows: Rows of the target at its end; None where it has only started.
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
    """How an export finds what it has to send.

    Attributes:
        mode: `full` sends every row, `incremental` what the table's change feed tells since the last export,
            `comparison` what a comparison with the target's own ids finds.
        why: The reason, or the version that it goes on from, in words.
        since: That version, where it is incremental.
        trusts_runs: Whether a row of the target that has the run_id of the table's row is known to be that row.
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
    """Which rows are exported.

    Attributes:
        table_id: Delta's id of the table.
        model_fingerprint: Hash of everything that decides a vector.
        version: Version of the table.
    """

    table_id: str
    model_fingerprint: str
    version: int


def decide(events: Sequence[ExportEvent], table: TableVersion, held: int | None, full: bool) -> ExportPlan:
    """Chooses the cheapest way that cannot go wrong.

    Args:
        events: The record of exports of the space to the target, newest first.
        table: What is exported.
        held: Rows that the target holds; None where it has none of the space.
        full: Whether the person who started the export asked for everything.

    Returns:
        The plan. An incremental one still has to find that the change feed reaches back far enough.
    """
    if full:
        return ExportPlan(FULL, "asked for by --full")
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
    """Plans anew where the change feed has a gap.

    Args:
        plan: An incremental plan.
        cause: What is wrong with the feed.

    Returns:
        A comparison.
    """
    why = f"the change feed since version {plan.since} cannot be read: {cause}"
    return ExportPlan(COMPARISON, why, trusts_runs=plan.trusts_runs)


def _had_some(events: Sequence[ExportEvent]) -> bool:
    return any(event.event == FINISHED and event.rows for event in events)


def _doubt(events: Sequence[ExportEvent], table: TableVersion, held: int) -> str | None:
    """Says why the target may hold something else than the last export left there; None where it does not."""
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
    """Tells whether every row of the target came from this very table.

    Each run that writes a row gives it its own id, so within one table an equal run_id means an equal row. A table
    that was made anew may give the same ids once more, and so may one whose files were put back from a copy.
    """
    for event in events:
        is_same = event.table_id == table.table_id and event.model_fingerprint == table.model_fingerprint
        if not is_same or event.version > table.version:
            return False
        # What came before a finished export, or before one that found nothing, has left no rows.
        if event.event == FINISHED or not event.had_rows:
            return True
    return False
