"""What a run tells of itself: its beginning, its plan, committed slices and its end."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from schemas.errors import CapReachedError
from schemas.plan import UNCHANGED
from spark_jobs.embedding.report import RunReport
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.slicing import Slice, Work
from spark_jobs.embedding.tally import Tally
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.signals import interruption_of


@contextmanager
def told_run(run: Run, progress: Progress) -> Iterator[None]:
    """Tells that a run began, and that it failed or was stopped; `tell_finished` tells that it finished."""
    progress.know(run=run.run_id)
    preflight = run.preflight
    values = {
        "model": preflight.inference.model.path,
        "model_fingerprint": preflight.model_fingerprint,
        "chunking_fingerprint": preflight.chunking_fingerprint,
        "source_version": preflight.source.version,
    }
    progress.tell("run_started", values)
    try:
        yield
    except BaseException as error:
        outcome = "failed" if interruption_of(error) is None else "stopped"
        outcome = "capped" if isinstance(error, CapReachedError) else outcome
        progress.tell("run_ended", {"outcome": outcome, **_time(progress)})
        raise


def tell_plan(work: Work, progress: Progress) -> None:
    """Tells what a run has to do."""
    backlog = sum(number for change, number in work.documents.items() if change != UNCHANGED)
    values = {"documents": dict(work.documents), "backlog": backlog, "tokens": work.tokens, "how": work.how}
    progress.tell("plan", values, f"plan: {work}")


def tell_slice(slice_: Slice, work: Work, tally: Tally, progress: Progress) -> None:
    """Tells that a slice is committed, and how far the run is."""
    counts = tally.counts
    progress.advance(tally.tokens, tally.documents, counts["chunks"], counts["chunks_failed"])
    values = {
        "documents": tally.documents,
        "chunks": counts["chunks"],
        "tokens": tally.tokens,
        "tokens_embedded": counts["tokens_embedded"],
        "tokens_planned": work.tokens,
        "tokens_per_second": round(tally.tokens_per_second, 1),
        "seconds_left": round(_seconds_left(work, tally), 1),
        "backlog": work.planned - tally.documents,
        "texts_failed": counts["chunks_failed"],
        **_time(progress),
    }
    text = f"slice {slice_.number} committed: {state_of(work, tally)} · {rate_of(work, tally)}"
    progress.tell("slice_committed", values, text)


def state_of(work: Work, tally: Tally) -> str:
    """Renders how much is committed."""
    chunks = tally.counts["chunks"]
    return f"{tally.documents:,} documents · {chunks:,} chunks · {tally.tokens:,} of about {work.tokens:,} tokens"


def rate_of(work: Work, tally: Tally) -> str:
    """Renders the rate of all slices so far, and the time left at that rate."""
    return f"{tally.tokens_per_second:,.0f} tokens/s · {_seconds_left(work, tally):,.0f} s left"


def _seconds_left(work: Work, tally: Tally) -> float:
    rate = tally.tokens_per_second
    return (work.tokens - tally.tokens) / rate if rate else 0.0


def tell_finished(run: Run, report: RunReport, progress: Progress) -> None:
    """Tells that a run finished, and what it did."""
    values = {
        "outcome": "finished",
        "counts": dict(report.counts),
        "step_seconds": {step: round(seconds, 3) for step, seconds in report.seconds.items()},
        "warnings": [text for label, text in report.notes if label == "warning"],
        "source_age": round(time.time() - run.preflight.source.opened_at, 1),
        "source_version": run.preflight.source.version,
        **_time(progress),
    }
    progress.tell("run_ended", values)


def _time(progress: Progress) -> Mapping[str, Any]:
    """Returns how long a run has taken, and its price if that is known."""
    cost = progress.figures.cost
    price = {} if cost is None else {"cost": round(cost, 6), "currency": progress.figures.currency}
    return {"seconds": round(progress.figures.seconds, 3), **price}
