"""A run of the main job: what it is, how its events are recorded, and how it ends."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Row
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
        number: Number of the run in its space, from 1.
        run_id: Library, space and number, joined by dots.
        settings: The whole configuration.
        preflight: What pre-flight found.
        tables: The space's tables, through the run's session.
        fence: Numbers its commits.
        owner: Host, process and a random word, which identify the run.
        before: The latest finished run of the space: run_number, source_version, source_id and source_rule; or None.
        is_clean: Whether the previous run finished, so no document can be half done.
    """

    number: int
    run_id: str
    settings: Settings
    preflight: PreflightResult
    tables: SpaceTables
    fence: Fence
    owner: str
    before: Row | None
    is_clean: bool


def check_still_ours(run: Run) -> None:
    """Raises RunActiveError once a later run has taken over the space."""
    # Delta's statistics show that files of earlier runs have no such row, so nearly always no file is read.
    later = events(run.tables).where(F.col("run_number") > run.number).select("run_id").limit(1).collect()
    if later:
        raise RunActiveError(
            f"run {later[0].run_id} has taken over from {run.run_id}. This run ends here; what it committed stays."
        )


def record(
    run: Run,
    event: str,
    counts: Mapping[str, int] | None = None,
    tally: Tally | None = None,
    slice_number: int | None = None,
    message: str | None = None,
    plan: str | None = None,
) -> None:
    """Appends one event of a run to the store's `runs` table.

    Args:
        run: The run.
        event: One of the events in `schemas.runs`.
        counts: Documents by change and status, chunks, tokens.
        tally: Seconds and inference of the run so far.
        slice_number: Slice that was committed, from 1.
        message: What went wrong; never the text of a document.
        plan: How the plan was made, in words.
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
        "model_fingerprint": run.preflight.model_fingerprint,
        "chunking_fingerprint": run.preflight.chunking_fingerprint,
        "source_version": run.preflight.source.version,
        "source_id": run.preflight.source.table_id,
        "source_rule": run.preflight.source.rule,
        "plan": plan,
        "counts": dict(counts or {}),
        "seconds": {step: round(value, 3) for step, value in tally.seconds.items()} if tally else {},
        "inference": dict(tally.inference.values) or None if tally else None,
        "versions": installed_versions(),
        "message": message,
    }
    values = tuple(row[name] for name in RUNS.schema.names)
    with store_lock(run.settings):
        run.tables.append(run.tables.spark.createDataFrame([values], RUNS.schema), RUNS.name)


@contextmanager
def recorded_end(run: Run, tally: Tally) -> Iterator[None]:
    """Records that a run failed or was stopped, and cancels the Spark jobs of one that was stopped.

    Args:
        run: The run.
        tally: Its counts and seconds so far.

    Raises:
        RunActiveError: A later run has taken over, whatever error this caused here.
    """
    spark, tag = run.tables.spark, run.run_id
    spark.addTag(tag)
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        stop = interruption_of(error)
        if stop is not None:
            with suppress(Exception):
                spark.interruptTag(tag)
            _try_to_record(run, STOPPED, tally, str(stop) or "interrupted")
            raise stop from None
        # Nothing more is recorded for a run that was overtaken, not even its end.
        _raise_if_overtaken(run, error)
        # Only our own messages are known to contain no document text.
        message = str(error) if isinstance(error, EmbedlakeError) else type(error).__name__
        _try_to_record(run, FAILED, tally, message[:_MESSAGE_CHARACTERS])
        raise
    finally:
        with suppress(Exception):
            spark.removeTag(tag)


def _raise_if_overtaken(run: Run, error: BaseException) -> None:
    try:
        check_still_ours(run)
    except RunActiveError as overtaken:
        raise overtaken from error
    except Exception:  # a dead session cannot answer; the first error is the one that counts
        return


def _try_to_record(run: Run, event: str, tally: Tally, message: str) -> None:
    # A dead session cannot record the end, and that must not hide why it died.
    with suppress(Exception):
        record(run, event, tally.counts, tally, message=message)
