"""Runs of several spaces of a library, one after another over one reading of the source."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from pyspark.sql import SparkSession

from spark_jobs.embedding.refresh import refresh
from spark_jobs.embedding.report import RunReport
from spark_jobs.embedding.source_reading import shared_reading
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.signals import interruption_of
from spark_jobs.settings.loading import Settings


@dataclass(frozen=True)
class SpaceOutcome:
    """How the run of one space ended.

    Attributes:
        name: Library and space, joined by a dot.
        report: What the run did; None if it failed.
        error: Why it failed; None if it succeeded.
    """

    name: str
    report: RunReport | None = None
    error: Exception | None = None


def refresh_spaces(
    spark: SparkSession,
    spaces: Sequence[Settings],
    *,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    take_over: bool = False,
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(Progress()),
) -> Iterator[SpaceOutcome]:
    """Brings spaces up to date, each with a run of its own; `spark_jobs.embed_library.run_spaces` says how."""
    with shared_reading(len(spaces) > 1) as reading:
        for settings in spaces:
            name = f"{settings.library}.{settings.space}"
            try:
                with progress() as shown:
                    report = refresh(
                        spark,
                        settings,
                        allow_removals=allow_removals,
                        retry_quarantined=retry_quarantined,
                        take_over=take_over,
                        progress=shown,
                        reading=reading,
                    )
            except Exception as error:
                # A signal breaks whatever was asked of Java at that moment.
                stop = interruption_of(error)
                if stop is not None:
                    raise stop from None
                yield SpaceOutcome(name, error=error)
                check_session(spark)
            else:
                yield SpaceOutcome(name, report)


def check_session(spark: SparkSession) -> None:
    """Raises an error if the session can do no work any more, whatever happens to the source."""
    spark.range(1).count()
