"""The main job: keeps the vectors of a space in sync with its library.

First load, refresh and resume are the same run. Start it as `embedlake embed --config F`, by
`spark-submit spark_jobs/embed_library.py --config F`, or in a live session:

    from spark_jobs.embed_library import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml")))

With `spaces` in the settings, one command runs each of them over one reading of the source.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, TypedDict

import typer
from pyspark.sql import SparkSession

from spark_jobs.embedding.refresh import refresh
from spark_jobs.embedding.report import RunReport
from spark_jobs.embedding.several_spaces import SpaceOutcome, refresh_spaces
from spark_jobs.runtime.command import (
    Config,
    Debug,
    LogAs,
    Overrides,
    ended,
    new_progress,
    show,
    stoppable_session,
    tell,
    tell_trace,
    watched_session,
    worst,
)
from spark_jobs.runtime.log import current_log
from spark_jobs.runtime.progress import Progress
from spark_jobs.settings.loading import Settings, load_spaces
from spark_jobs.store.tables import delta_session

AllowRemovals = Annotated[
    bool, typer.Option("--allow-removals", help="Allow removing more documents than run.max_removed_fraction.")
]
RetryQuarantined = Annotated[
    bool, typer.Option("--retry-quarantined", help="Try quarantined documents again, up to run.max_attempts times.")
]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Take over from a run that has not finished; that run then stops.")
]


class Options(TypedDict):
    """What the command line allows a run."""

    allow_removals: bool
    retry_quarantined: bool
    take_over: bool


def run(
    spark: SparkSession,
    settings: Settings,
    *,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    take_over: bool = False,
    progress: Progress | None = None,
) -> RunReport:
    """Embeds new and changed documents of a library and removes the vectors of those that are gone.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        allow_removals: Whether more documents than `run.max_removed_fraction` may be removed.
        retry_quarantined: Whether to try quarantined documents again, up to `run.max_attempts` times.
        take_over: Whether to start although another run has not finished; that run stops at its next commit.
        progress: Where progress is shown; nowhere by default.

    Returns:
        What the run did; print it for the run summary.

    Raises:
        InputError: Settings or input are invalid; nothing was written unless the message says so.
        SourceError: The source's columns or history do not fit.
        RunActiveError: Another run is active, or has taken over.
        QuarantineLimitError: Too many documents could not be embedded; the others are committed.
        ReconciliationError: The tables do not agree after the last commit.
    """
    return refresh(
        spark,
        settings,
        allow_removals=allow_removals,
        retry_quarantined=retry_quarantined,
        take_over=take_over,
        progress=progress,
    )


def run_spaces(
    spark: SparkSession,
    spaces: Sequence[Settings],
    *,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    take_over: bool = False,
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(Progress()),
) -> Iterator[SpaceOutcome]:
    """Runs several spaces of a library in order, as `run` does one; the source is pinned and hashed once for all.

    Each run has its own number, commits and record, and one that fails does not keep the next one from its turn.

    Args:
        spark: A live session, classic or Connect.
        spaces: The whole configuration of each space, as `load_spaces` returns them.
        allow_removals: Whether more documents than `run.max_removed_fraction` may be removed.
        retry_quarantined: Whether to try quarantined documents again, up to `run.max_attempts` times.
        take_over: Whether to start although another run has not finished; that run stops at its next commit.
        progress: Makes what shows the progress of one run.

    Yields:
        How each run ended, as soon as it has.

    Raises:
        InputError: The session cannot use Delta tables.
        Exception: The session is gone.
    """
    with delta_session(spark):
        yield from refresh_spaces(
            spark,
            spaces,
            allow_removals=allow_removals,
            retry_quarantined=retry_quarantined,
            take_over=take_over,
            progress=progress,
        )


def _embed_each(spaces: Sequence[Settings], options: Options, debug: bool) -> int:
    """Runs several spaces, shows the summary or the fault of each, and returns the exit code."""
    codes = [0]
    with stoppable_session(spaces[0], debug) as spark:
        for outcome in run_spaces(spark, spaces, **options, progress=lambda: new_progress().live()):
            if outcome.error is None:
                show(f"{outcome.report}\n")
                continue
            library, _, space = outcome.name.partition(".")
            if debug:
                tell_trace(outcome.error, library=library, space=space)
            lead = f"embedlake: space {outcome.name}: "
            codes.append(tell(outcome.error, lead, library=library, space=space))
    return worst(codes)


def command(
    config: Config,
    overrides: Overrides = None,
    allow_removals: AllowRemovals = False,
    retry_quarantined: RetryQuarantined = False,
    take_over: TakeOver = False,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Embed new and changed documents, and remove the vectors of those that are gone."""

    def work() -> None:
        spaces = load_spaces(config, overrides)
        options = Options(allow_removals=allow_removals, retry_quarantined=retry_quarantined, take_over=take_over)
        if len(spaces) > 1:
            raise SystemExit(_embed_each(spaces, options, debug))
        current_log().about.update(library=spaces[0].library, space=spaces[0].space)
        with watched_session(spaces[0], debug) as (spark, progress):
            report = run(spark, spaces[0], **options, progress=progress)
        show(str(report))

    ended(work, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
