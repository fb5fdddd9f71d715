"""The record of runs: events appended to the store's `runs` table."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from schemas.errors import EmbedlakeError, RunActiveError
from schemas.runs import FAILED, RUNS, STOPPED
from spark_jobs.embedding.preflight import PreflightResult
from spark_jobs.embedding.tally import Tally
from spark_jobs.runtime.signals import interruption_of
from spark_jobs.settings.loading import Settings
from spark_jobs.store.fence import Fence
from spark_jobs.store.locks import store_lock
from spark_jobs.store.runs import events, installed_versions
from spark_jobs.store.tables import SpaceTables

_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True)
class Run:
    """One execution of the main job.

    Attributes:
        number: Position in its space, from 1.
        run_id: Library, space and number in one word.
        settings: The whole configuration.
        checked: What pre-flight found.
        tables: Its tables.
        fence: What numbers its commits.
        owner: Host, process and a random word: who the run is.
        before: The newest finished run of the space: run_number, source_version, source_id and source_rule; or None.
        is_clean: Whether the run before this one finished, so that nothing can be half done.
    """

    number: int
    run_id: str
    settings: Settings
    checked: PreflightResult
    tables: SpaceTables
    fence: Fence
    owner: str
    before: Row | None
    is_clean: bool


def check_still_ours(spark: SparkSession, run: Run) -> None:
    """Stops a run that another one has taken over from.

    Args:
        spark: The live session.
        run: The run.

    Raises:
        RunActiveError: A later run has started.
    """
    newest = events(run.tables).agg(F.max("run_number")).collect()[0][0] or 0
    if newest > run.number:
        raise RunActiveError(
            f"run {run.settings.library}.{run.settings.space}.{newest} has taken over from {run.run_id}, which ends "
            "here; what it committed stays"
        )


def record(
    spark: SparkSession,
    run: Run,
    event: str,
    counts: Mapping[str, int] | None = None,
    tally: Tally | None = None,
    slice_number: int | None = None,
    message: str | None = None,
    plan: str | None = None,
) -> None:
    """Appends one event of a run.

    Args:
        spark: The live session.
        run: The run.
        event: One of the events that `schemas.runs` names.
        counts: Documents by change and status, chunks, tokens.
        tally: What its steps and the model took so far.
        slice_number: Slice that was committed, from 1.
        message: What went wrong.
        plan: How the work was found.
    """
    row = {
        "library": run.settings.library,
        "space": run.settings.space,
        "run_number": run.number,
        "run_id": run.run_id,
        "event": event,
        "event_time": datetime.now().astimezone(),
        "owner": run.owner,
        "slice_number": slice_number,
        "model_fingerprint": run.checked.model_fingerprint,
        "chunking_fingerprint": run.checked.chunking_fingerprint,
        "source_version": run.checked.source.version,
        "source_id": run.checked.source.table_id,
        "source_rule": run.checked.source.rule,
        "plan": plan,
        "counts": dict(counts or {}),
        "seconds": {step: round(value, 3) for step, value in tally.seconds.items()} if tally else {},
        "inference": dict(tally.inference.values) or None if tally else None,
        "versions": installed_versions(),
        "message": message,
    }
    values = tuple(row[name] for name in RUNS.schema.names)
    with store_lock(run.settings):
        run.tables.append(spark.createDataFrame([values], RUNS.schema), RUNS.name)


@contextmanager
def recorded_end(spark: SparkSession, run: Run, tally: Tally) -> Iterator[None]:
    """Records that a run failed or was stopped, and cancels what Spark still does for it.

    Args:
        spark: The live session.
        run: The run.
        tally: What it counted and took so far.

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
            _record(spark, run, STOPPED, tally, str(stop) or "interrupted")
            raise stop from None
        # Nothing more is written for a run that was overtaken, not even its end.
        _check(spark, run, error)
        # Only our own messages are known to hold no text of a document.
        message = str(error) if isinstance(error, EmbedlakeError) else type(error).__name__
        _record(spark, run, FAILED, tally, message[:_MESSAGE_CHARACTERS])
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


def _record(spark: SparkSession, run: Run, event: str, tally: Tally, message: str) -> None:
    # A session that died cannot record it, and must not hide why it died.
    with suppress(Exception):
        record(spark, run, event, tally.counts, tally, message=message)
