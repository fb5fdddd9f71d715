"""The rollback job: makes the space that was active before the active one again, in one commit.

Start it as `embedlake rollback --config F`.
"""

from dataclasses import dataclass

import typer
from pyspark.sql import Row, SparkSession

from schemas.errors import InputError
from schemas.spaces import RETIRED, ROLLED_BACK
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, Reason, reported
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.report import render_lines
from spark_jobs.settings.loading import Settings
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.promotion import switch_active
from spark_jobs.store.readiness import compare_ledgers, find_candidate, lag_of
from spark_jobs.store.registry import Registry, read_registry
from spark_jobs.store.tables import delta_session


@dataclass(frozen=True)
class RollbackReport:
    """What a rollback did.

    Attributes:
        library: The library.
        space: The space that is active again.
        before: The space that was active until now.
        lag: How far it is behind, in words.
    """

    library: str
    space: str
    before: str
    lag: str

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        lines = [("space", f"{self.library}.{self.space} is active again, instead of {self.before}")]
        return render_lines([*lines, ("behind", self.lag)])


def run(
    spark: SparkSession, settings: Settings, *, reason: str | None = None, progress: Progress | None = None
) -> RollbackReport:
    """Makes the space that was active before the active one again. Its rows are not checked: it is what readers had.

    Args:
        spark: A live session, classic or Connect.
        settings: Names the library and its store.
        reason: Why, in the words of a person; recorded.
        progress: Where progress is shown; nowhere by default.

    Returns:
        Which space is active again, and how far it is behind; `str` renders the summary.

    Raises:
        InputError: No other space was active before, or its vectors are gone.
        RunActiveError: Another process changed the library's spaces meanwhile.
    """
    progress = progress or Progress()
    with delta_session(spark):
        with progress.step("check"):
            settings = with_file_system(spark, settings)
            seen = read_registry(spark, settings)
            previous = _previous(seen, settings.library).space
            candidate = find_candidate(spark, settings, seen, previous, must_be_complete=False)
        with progress.step("roll back"):
            switch_active(spark, settings, seen, candidate.row, ROLLED_BACK, reason)
        with progress.step("compare"):
            lag = lag_of(candidate, compare_ledgers(candidate.tables, candidate.active_tables))
    return RollbackReport(settings.library, candidate.row.space, candidate.active.space, lag)


def _previous(registry: Registry, library: str) -> Row:
    retired = [row for row in registry.spaces if row.state == RETIRED]
    if not retired:
        raise InputError(
            f"library {library} has no space that was active before. Only embedlake promote makes another one active."
        )
    return max(retired, key=lambda row: row.number)


def command(
    config: Config, reason: Reason = None, overrides: Overrides = None, debug: Debug = False, log_format: LogAs = "text"
) -> None:
    """Make the space that was active before the active one again."""

    def job(spark: SparkSession, settings: Settings, progress: Progress) -> object:
        return run(spark, settings, reason=reason, progress=progress)

    reported(job, config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
