"""The job that removes a space which readers no longer use: its tables, their files, and what its exports compared.

Start it as `embedlake drop --config F --space NAME`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from pyspark.sql import Row, SparkSession

from schemas.errors import InputError
from schemas.spaces import DROPPED, RETIRED
from spark_jobs.export.difference import held_tables
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, Reason, reported
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.report import render_lines
from spark_jobs.settings.loading import Settings
from spark_jobs.store.claims import exclusive
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.promotion import changed
from spark_jobs.store.registry import Registry, change_registry, read_registry
from spark_jobs.store.removal import is_left, remove_tables
from spark_jobs.store.spaces import unknown_space
from spark_jobs.store.tables import SpaceTables, delta_session, space_tables

SpaceName = Annotated[str, typer.Option("--space", help="The space of the library to remove.")]
Force = Annotated[bool, typer.Option("--force", help="Remove it before promotion.keep_days are over.")]


@dataclass(frozen=True)
class DropReport:
    """What was removed.

    Attributes:
        space: Library and space.
        left: What a person has to remove; None if nothing is left.
    """

    space: str
    left: str | None

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        lines = [("space", f"{self.space} is removed, with its tables and their files")]
        if self.left is not None:
            lines.append(("left", f"empty tables in {self.left}; remove the folder with the store's own tools"))
        return render_lines(lines)


def run(
    spark: SparkSession,
    settings: Settings,
    space: str,
    *,
    force: bool = False,
    reason: str | None = None,
    progress: Progress | None = None,
) -> DropReport:
    """Removes a space that is not active. From the first commit on, nobody can open it; a killed removal is repeated.

    Args:
        spark: A live session, classic or Connect.
        settings: Names the library and its store.
        space: Name of the space.
        force: Whether to remove a space that was active within `promotion.keep_days`.
        reason: Why, in the words of a person; recorded.
        progress: Where progress is shown; nowhere by default.

    Returns:
        What was removed; `str` renders the summary.

    Raises:
        InputError: The space does not exist, is active, or was active until recently.
        RunActiveError: A run of the space is active, or another process changed the library's spaces meanwhile.
    """
    progress = progress or Progress()
    with delta_session(spark):
        with progress.step("check"):
            settings = with_file_system(spark, settings).model_copy(update={"space": space})
            tables = space_tables(spark, settings)
            _check(read_registry(spark, settings), settings, force, tables)
        with exclusive(spark, settings, "drop") as claim:
            with progress.step("drop"):
                change_registry(spark, settings, lambda registry: _dropped(registry, settings, force, reason, tables))
            with progress.step("remove"):
                # The events of its exports stay: they tell that a target with its rows is the library's own.
                left = remove_tables(tables, held_tables(tables), claim.fence, claim.number)
    return DropReport(f"{settings.library}.{space}", left)


def _check(registry: Registry, settings: Settings, force: bool, tables: SpaceTables) -> Row | None:
    """Returns the row of a space that may be dropped; None for one that was, but is not gone entirely."""
    row, name = registry.row, f"{settings.library}.{settings.space}"
    if row is None:
        if registry.was_dropped and is_left(tables):
            return None
        raise unknown_space(registry, settings.library, settings.space)
    if row.active:
        raise InputError(f"space {name} is active, so readers use it. Promote another one first.")
    if row.state == RETIRED and not force:
        left = row.changed_at.astimezone(UTC) + timedelta(days=settings.promotion.keep_days) - datetime.now(UTC)
        if left > timedelta():
            raise InputError(
                f"space {name} was active until recently, and promotion.keep_days keeps it for another "
                f"{left / timedelta(days=1):.1f} days, for embedlake rollback. Wait, or use --force."
            )
    return row


def _dropped(
    registry: Registry, settings: Settings, force: bool, reason: str | None, tables: SpaceTables
) -> Sequence[dict[str, Any]]:
    # Checked again: it may have been promoted since.
    row = _check(registry, settings, force, tables)
    return [changed(row, state=DROPPED, active=False, change=DROPPED, reason=reason)] if row is not None else []


def command(
    config: Config,
    space: SpaceName,
    force: Force = False,
    reason: Reason = None,
    overrides: Overrides = None,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Remove a space that readers no longer use, with its tables and files."""

    def job(spark: SparkSession, settings: Settings, progress: Progress) -> object:
        return run(spark, settings, space, force=force, reason=reason, progress=progress)

    reported(job, config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
