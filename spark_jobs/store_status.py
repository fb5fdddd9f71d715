"""The status job: spaces, their counts and their last runs."""

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED
from schemas.runs import RUNS
from schemas.spaces import SPACES
from spark_jobs import store
from spark_jobs.ledger_summary import summarise_ledger
from spark_jobs.settings import Settings

_RUNS_SHOWN = 10


def run(spark: SparkSession, settings: Settings, console: Console) -> None:
    """Prints what a store holds.

    Args:
        spark: The live session.
        settings: The whole configuration.
        console: Where to print.
    """
    place = store.place_of(settings)
    if not store.exists(spark, place.name(SPACES.name)):
        console.print("No run has written to this store yet.")
        return
    with store.delta_session(spark):
        console.print(_spaces(spark, settings))
        console.print(_runs(spark, place))


def _spaces(spark: SparkSession, settings: Settings) -> Table:
    table = Table(
        "library", "space", "active", "model", "dimension", "documents", EMBEDDED, EMPTY, QUARANTINED, "chunks"
    )
    rows = store.read(spark, store.place_of(settings), SPACES.name).orderBy("library", "space").collect()
    for row in rows:
        place = store.Place(settings.store, row.library, row.space)
        counts = _counts(spark, place)
        shown = [f"{counts.get(name, 0):,}" for name in ("documents", EMBEDDED, EMPTY, QUARANTINED, "chunks")]
        active = "yes" if row.active else ""
        table.add_row(row.library, row.space, active, row.model_fingerprint[:12], str(row.dimension), *shown)
    return table


def _counts(spark: SparkSession, place: store.Place) -> dict[str, int]:
    # A run that was stopped while it made its tables leaves a space without them.
    if not store.exists(spark, place.name(LEDGER.name)):
        return {}
    summary = summarise_ledger(store.read(spark, place, LEDGER.name))
    return {**summary.statuses, "documents": summary.documents, "chunks": summary.chunks}


def _runs(spark: SparkSession, place: store.Place) -> Table:
    table = Table("run", "last event", "at (UTC)", "documents", "chunks", "tokens embedded", "seconds", "message")
    last = (
        store.read(spark, place, RUNS.name)
        .groupBy("run_id")
        .agg(F.max_by(F.struct("event", "event_time", "counts", "seconds", "message"), "event_time").alias("last"))
        .select("run_id", "last.*")
        .orderBy(F.desc("event_time"))
        .limit(_RUNS_SHOWN)
        .collect()
    )
    for row in last:
        n = row.counts or {}
        documents = sum(n.get(change, 0) for change in ("added", "changed", "payload", "removed"))
        table.add_row(
            row.run_id,
            row.event,
            f"{row.event_time:%Y-%m-%d %H:%M:%S}",
            f"{documents:,}",
            f"{n.get('chunks', 0):,}",
            f"{n.get('tokens_embedded', 0):,}",
            f"{sum((row.seconds or {}).values()):.0f}",
            row.message or "",
        )
    return table
