"""The changes that make another space the active one of its library, and the record of those that were refused."""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import Row, SparkSession

from schemas.spaces import ACTIVE, REFUSED, REPLACED, RETIRED, SPACES
from spark_jobs.settings.loading import Settings
from spark_jobs.store.registry import Registry, change_registry, changed_meanwhile, read_registry
from spark_jobs.store.spaces import make_view
from spark_jobs.store.tables import location_of, tables_of_row

# Columns that belong to a change, not to the space.
_OF_CHANGE = ("number", "change", "changed_at", "changed_by", "reason", "figures")


def switch_active(
    spark: SparkSession,
    settings: Settings,
    seen: Registry,
    row: Row,
    change: str,
    reason: str | None = None,
    figures: Mapping[str, float] | None = None,
) -> None:
    """Makes a space the active one, in one commit; a catalog's view follows.

    Args:
        spark: The live session, with the properties of `delta_session`.
        settings: Names the library and its store.
        seen: The registry as it was when the change was decided.
        row: The space's row in it.
        change: `promoted` or `rolled back`.
        reason: Why, in the words of a person.
        figures: What the change was decided by.

    Raises:
        RunActiveError: Another process changed the library's spaces meanwhile.
    """

    def decide(registry: Registry) -> list[dict[str, Any]]:
        before = registry.active
        now = _as_seen(registry, seen, row)
        mine = {"state": ACTIVE, "active": True, "change": change, "reason": reason, "figures": dict(figures or {})}
        rows = [changed(now, **mine)]
        if before is not None:
            rows.append(changed(before, state=RETIRED, active=False, change=REPLACED))
        return rows

    change_registry(spark, settings, decide)
    show_active(spark, settings)


def record_refusal(
    spark: SparkSession, settings: Settings, seen: Registry, row: Row, reason: str, figures: Mapping[str, float]
) -> None:
    """Records that a space was not promoted, and why; see `switch_active` for the arguments."""

    def decide(registry: Registry) -> list[dict[str, Any]]:
        now = _as_seen(registry, seen, row)
        return [changed(now, change=REFUSED, reason=reason, figures=dict(figures))]

    change_registry(spark, settings, decide)


def changed(row: Row, **values: Any) -> dict[str, Any]:
    """Returns a space's row with other values, as `change_registry` takes it."""
    kept = {name: row[name] for name in SPACES.schema.names if name not in _OF_CHANGE}
    return {**kept, **values}


def _as_seen(registry: Registry, seen: Registry, row: Row) -> Row:
    """Returns the space's row as it is now; refuses a library in which other spaces are active or registered now."""
    now = registry.find(row.space)
    if now is None or now.created_at != row.created_at or _active(registry) != _active(seen):
        raise changed_meanwhile(row.library)
    return now


def _active(registry: Registry) -> str | None:
    return registry.active.space if registry.active is not None else None


def show_active(spark: SparkSession, settings: Settings) -> None:
    """Makes a catalog's view of the library select from its active space, whichever process changed that last."""
    if location_of(settings).view is None:
        return
    shown = None
    # Of two processes at the same moment, the one that was slower makes the view last, and reads the registry after.
    while (active := read_registry(spark, settings).active) is not None and active.space != shown:
        make_view(tables_of_row(spark, settings.store, active))
        shown = active.space
