"""A run of the main job: what it is, how its events are recorded, and how it ends."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from schemas.errors import CapReachedError, RunActiveError
from schemas.runs import CAPPED, FAILED, STOPPED
from spark_jobs.embedding.preflight import PreflightResult
from spark_jobs.embedding.store_state import StoreState
from spark_jobs.embedding.tally import Tally
from spark_jobs.runtime.signals import interruption_of
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings
from spark_jobs.store.claims import Claim, append_event, check_still_held, kept_alive
from spark_jobs.store.fence import Fence
from spark_jobs.store.tables import SpaceTables

_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True)
class Run:
    """One execution of the main job.

    Attributes:
        claim: Its number, and who it is.
        settings: The whole configuration.
        preflight: What pre-flight found.
        state: The store as the run found it.
    """

    claim: Claim
    settings: Settings
    preflight: PreflightResult
    state: StoreState

    @property
    def tables(self) -> SpaceTables:
        """The space's tables, through the run's session."""
        return self.state.tables

    @property
    def run_id(self) -> str:
        """Library, space and number, joined by dots."""
        return self.claim.run_id

    @property
    def fence(self) -> Fence:
        """Numbers the run's commits."""
        return self.claim.fence

    @property
    def is_clean(self) -> bool:
        """Whether all that began earlier has finished, so no document can be half done."""
        return self.claim.was_clean


def check_still_ours(run: Run) -> None:
    """Raises RunActiveError once a later run has taken over the space."""
    check_still_held(run.tables, run.claim)


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
    values = event_values(run.preflight, counts or {}, tally, slice_number, message, plan)
    append_event(run.tables, run.settings, run.claim, event, values)


def event_values(
    preflight: PreflightResult,
    counts: Mapping[str, int],
    tally: Tally | None,
    slice_number: int | None = None,
    message: str | None = None,
    plan: str | None = None,
) -> dict[str, Any]:
    """Returns the columns of an event of a run; see `record`."""
    return {
        **recorded_values(preflight),
        "slice_number": slice_number,
        "plan": plan,
        "counts": dict(counts),
        # A copy, because the next slice may be counting meanwhile.
        "seconds": {step: round(value, 3) for step, value in dict(tally.seconds).items()} if tally else {},
        "inference": dict(tally.inference.values) or None if tally else None,
        "message": message,
    }


def recorded_values(preflight: PreflightResult) -> dict[str, Any]:
    """Returns what every event of a run records: the model, the chunking rule and the source."""
    source = preflight.source
    return {
        "model_fingerprint": preflight.model_fingerprint,
        "chunking_fingerprint": preflight.chunking_fingerprint,
        "source_version": source.version,
        "source_id": f"{source.table_id} {source.commit}" if source.table_id is not None else None,
        "source_rule": source.rule,
    }


@contextmanager
def recorded_end(run: Run, tally: Tally) -> Iterator[None]:
    """Records that a run failed, was stopped or reached its cap, and cancels the Spark jobs of one that was stopped.

    Args:
        run: The run.
        tally: Its counts and seconds so far.

    Raises:
        RunActiveError: A later run has taken over, whatever error this caused here.
    """
    spark, tag = run.tables.spark, run.run_id
    spark.addTag(tag)
    try:
        with kept_alive(run.tables, run.settings, run.claim):
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
        event = CAPPED if isinstance(error, CapReachedError) else FAILED
        _try_to_record(run, event, tally, cause_of(error)[:_MESSAGE_CHARACTERS])
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
