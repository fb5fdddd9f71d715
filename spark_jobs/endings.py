"""How a run that does not finish ends: its work is cancelled and its end is on record."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pyspark.sql import SparkSession

from schemas.errors import EmbedlakeError, RunActiveError
from schemas.runs import FAILED, STOPPED
from spark_jobs.claims import check_still_ours
from spark_jobs.progress import Progress
from spark_jobs.runs import Run, record
from spark_jobs.signals import interruption_of

_MESSAGE_CHARACTERS = 500


@contextmanager
def recorded_end(spark: SparkSession, run: Run, counts: Counter[str], progress: Progress) -> Iterator[None]:
    """Records that a run failed or was stopped, and cancels what Spark still does for it.

    Args:
        spark: The live session.
        run: The run.
        counts: What its slices counted so far.
        progress: The time of its steps.

    Raises:
        RunActiveError: A later run has taken over, whatever that looked like from here.
    """
    tag = run.run_id
    spark.addTag(tag)
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        stop = interruption_of(error)
        if stop is not None:
            with suppress(Exception):
                spark.interruptTag(tag)
            _record(spark, run, STOPPED, counts, progress, str(stop) or "interrupted")
            raise stop from None
        # Nothing more is written for a run that was overtaken, not even its end.
        _check(spark, run, error)
        # Only our own messages are known to hold no text of a document.
        message = str(error) if isinstance(error, EmbedlakeError) else type(error).__name__
        _record(spark, run, FAILED, counts, progress, message[:_MESSAGE_CHARACTERS])
        raise
    finally:
        with suppress(Exception):
            spark.removeTag(tag)


def _check(spark: SparkSession, run: Run, error: BaseException) -> None:
    try:
        check_still_ours(spark, run)
    except RunActiveError as overtaken:
        raise overtaken from error
    except Exception:  # a session that died cannot tell; the first error is what counts
        return


def _record(spark: SparkSession, run: Run, event: str, counts: Counter[str], progress: Progress, message: str) -> None:
    # A session that died cannot record it, and must not hide why it died.
    with suppress(Exception):
        record(spark, run, event, counts, progress, message=message)
