"""What a run is expected to take, what runs before it took, and how both are kept in the record of runs."""

from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc
from pyspark.sql import Row
from pyspark.sql import functions as F

from schemas.ledger import EMBEDDED, LEDGER
from schemas.plan import ADDED, CHANGES, TRIED
from schemas.runs import CAPPED, FINISHED
from spark_jobs.embedding.comparison import Comparison
from spark_jobs.embedding.documents import CHARACTERS_PER_TOKEN
from spark_jobs.embedding.forecast import Forecast, PastRun, TextLengths, Workload, forecast
from spark_jobs.embedding.slicing import reading_pays
from spark_jobs.embedding.store_state import StoreState
from spark_jobs.store.runs import count_of, events, wall_seconds
from spark_jobs.store.tables import SpaceTables

_MOST_RUNS = 10
# The steps before source and ledger are compared, and that itself.
AHEAD = ("session", "pre-flight", "compare")
# What the record of a run keeps for the forecasts of later ones, and to stand beside what it became.
ACCOUNTED = ("characters", "characters_changed", "slots", "milliseconds", "estimated_tokens", "estimated_seconds")


def expect(
    state: StoreState,
    found: Comparison,
    slots: int,
    ahead: float,
    characters_per_token: float = CHARACTERS_PER_TOKEN,
    tokens_per_second: float | None = None,
) -> Forecast:
    """Forecasts a run by the last ones of its space.

    Args:
        state: The store.
        found: How source and ledger differ.
        slots: Tasks that will run at the same time.
        ahead: Seconds from the start of the session until that was found.
        characters_per_token: What to reckon with if no run has counted tokens.
        tokens_per_second: Rate of the step that embeds; None for that of the past runs.

    Returns:
        The forecast.
    """
    work = Workload(
        documents=found.planned,
        to_embed=sum(found.by_change[change] for change in TRIED),
        lengths=found.lengths,
        repeated=repeated_characters(state, found),
        slots=slots,
        ahead=ahead,
    )
    past = past_runs(state.tables) if state.last is not None else []
    return forecast(work, past, characters_per_token, tokens_per_second)


def past_runs(tables: SpaceTables) -> list[PastRun]:
    """Reads the last runs of a space that came to their end with something to do, the newest first."""
    names = ("documents", *CHANGES)
    planned = sum((F.coalesce(count_of(name), F.lit(0)) for name in names), F.lit(0))
    ended = events(tables).where(F.col("event").isin(FINISHED, CAPPED) & (planned > 0))
    kept = (
        ended.orderBy(F.desc("run_number"))
        .limit(_MOST_RUNS)
        .select("counts", "seconds", "inference.device", "inference.dtype", "inference.backend")
    )
    return [as_past_run(row) for row in kept.collect()]


def as_past_run(row: Row) -> PastRun:
    """Reads a run from its last event: counts, seconds, device, dtype and backend.

    Runs of earlier versions counted neither characters nor slots, and their wall-clock time is that of their steps.
    """
    counts, seconds = row.counts or {}, row.seconds or {}
    return PastRun(
        lengths=TextLengths(counts.get("characters", 0), counts.get("characters_changed", 0)),
        # A capped run has done a part of what it had planned.
        documents=counts.get("documents", sum(counts.get(change, 0) for change in CHANGES)),
        chunks=counts.get("chunks", 0),
        tokens=counts.get("tokens_embedded", 0) + counts.get("tokens_saved", 0),
        embedded=counts.get("tokens_embedded", 0),
        kept=counts.get("tokens_kept", 0),
        seconds=wall_seconds(counts, seconds),
        ahead=sum(seconds.get(step, 0.0) for step in AHEAD),
        inference=seconds.get("embed", 0.0),
        slots=counts.get("slots", 0),
        # Which of several GPUs a run had differs from run to run.
        worker=f"{row.device.partition(':')[0]} {row.dtype} by {row.backend}" if row.device else "",
        estimated_tokens=counts.get("estimated_tokens"),
        estimated_seconds=counts.get("estimated_seconds"),
    )


def as_counts(expected: Forecast, lengths: TextLengths, slots: int, seconds: float) -> dict[str, int]:
    """Returns the numbers of `ACCOUNTED`; a forecast that no past run had a part in is left out.

    Args:
        expected: The forecast of the run.
        lengths: What it has embedded, in characters.
        slots: Tasks that ran at the same time.
        seconds: Wall-clock seconds from the start of the session.

    Returns:
        Numbers by their names in the column `counts`.
    """
    counts = {
        "characters": lengths.whole,
        "characters_changed": lengths.changed,
        "slots": slots,
        "milliseconds": round(seconds * 1000),
    }
    if expected.runs:
        counts["estimated_tokens"] = expected.embedded
    if expected.runs and expected.seconds is not None:
        counts["estimated_seconds"] = round(expected.seconds)
    return counts


def repeated_characters(state: StoreState, found: Comparison) -> int:
    """Counts the characters of added texts whose vectors need not be computed, as far as the driver knows the changes.

    A document that was moved has its text under another id, and a text that several documents share is embedded once.
    """
    if found.changes is None or not found.by_change[ADDED]:
        return 0
    added = found.changes.filter(pc.field("change") == ADDED).group_by("text_hash")
    texts = added.aggregate([("characters", "max"), ("characters", "sum")])
    lengths: list[dict[str, int]] = texts.select(["characters_sum", "characters_max"]).to_pylist()
    again = sum(each["characters_sum"] - each["characters_max"] for each in lengths)
    # Where a run would not look for them, they are embedded again.
    if LEDGER.name not in state.existing or not reading_pays(texts.num_rows, found.ledger.chunks):
        return again
    asked = state.tables.spark.createDataFrame(texts.select(["text_hash", "characters_max"]))
    embedded = state.read_ledger().where(F.col("status") == EMBEDDED).select("text_hash")
    known = embedded.join(F.broadcast(asked), "text_hash").dropDuplicates(["text_hash"])
    row = known.agg(F.count(F.lit(1)).alias("texts"), F.sum("characters_max").alias("characters")).collect()[0]
    return again + (row.characters if reading_pays(row.texts, found.ledger.chunks) else 0)


def estimate_line(counts: Mapping[str, Any]) -> str:
    """Renders how far a run's forecast was from what it became; empty if it had none."""
    parts = []
    embedded = counts.get("tokens_embedded", 0)
    if "estimated_tokens" in counts and embedded:
        parts.append(f"{counts['estimated_tokens']:,} tokens to embed, {_apart(counts['estimated_tokens'], embedded)}")
    if "estimated_seconds" in counts:
        seconds = wall_seconds(counts, {})
        parts.append(f"{counts['estimated_seconds']:,} s, {_apart(counts['estimated_seconds'], seconds)}")
    return " · ".join(parts)


def _apart(estimate: float, value: float) -> str:
    share = estimate / value - 1
    return f"{abs(share):.1%} too {'many' if share > 0 else 'few'}"
