"""The main job: keeps the vectors of a space in sync with its library.

First load, refresh and resume are the same run. Start it as `embedlake embed --config F`, by
`spark-submit spark_jobs/embed_library.py --config F`, or in a live session:

    from spark_jobs.embed_library import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml")))
"""

from typing import Annotated

import typer
from pyspark.sql import SparkSession

from spark_jobs.embedding.refresh import refresh
from spark_jobs.embedding.report import RunReport
from spark_jobs.runtime.command import Config, Debug, Overrides, guarded, show, watched_session
from spark_jobs.runtime.progress import Progress
from spark_jobs.settings.loading import Settings

AllowRemovals = Annotated[
    bool, typer.Option("--allow-removals", help="Allow removing more documents than run.max_removed_fraction.")
]
RetryQuarantined = Annotated[
    bool, typer.Option("--retry-quarantined", help="Try quarantined documents again, up to run.max_attempts times.")
]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Take over from a run that has not finished; that run then stops.")
]


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


def command(
    config: Config,
    overrides: Overrides = None,
    allow_removals: AllowRemovals = False,
    retry_quarantined: RetryQuarantined = False,
    take_over: TakeOver = False,
    debug: Debug = False,
) -> None:
    """Embed new and changed documents, and remove the vectors of those that are gone."""

    def job(settings: Settings) -> None:
        with watched_session(settings, debug) as (spark, progress):
            report = run(
                spark,
                settings,
                allow_removals=allow_removals,
                retry_quarantined=retry_quarantined,
                take_over=take_over,
                progress=progress,
            )
        show(str(report))

    guarded(job, config, overrides, debug)


if __name__ == "__main__":
    typer.run(command)
