"""The status job: the spaces of a store, their counts and last runs, and what a run would do now."""

import typer
from pyspark.sql import DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED
from schemas.plan import CHANGES
from schemas.runs import ENDS, FINISHED, RUNS, SLICE_COMMITTED
from schemas.spaces import DROPPED, SPACES
from spark_jobs.embedding.backlog import backlog_of
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, guarded, output, session
from spark_jobs.runtime.report import render_lines
from spark_jobs.settings.loading import Settings
from spark_jobs.store.ledger import summarise_ledger
from spark_jobs.store.registry import check_format, newest_rows_of
from spark_jobs.store.runs import count_of
from spark_jobs.store.tables import SpaceTables, delta_session, space_tables, tables_of_row

_RUNS_SHOWN = 10
_UNFINISHED = "unfinished"


def run(spark: SparkSession, settings: Settings, console: Console) -> None:
    """Prints what a store contains and what a run of the settings' space would do; writes nothing."""
    tables = space_tables(spark, settings)
    with delta_session(spark):
        if not tables.exists(SPACES.name):
            console.print("No run has written to this store yet.")
        else:
            check_format(tables)
            console.print(_spaces(spark, settings))
        if tables.exists(RUNS.name):
            console.print(_runs(tables))
        console.print(f"space {settings.library}.{settings.space}", markup=False, highlight=False)
        # Text from the source is not markup, and nobody can search for a line that wraps.
        backlog = render_lines(backlog_of(spark, settings).lines())
        console.print(backlog, markup=False, highlight=False, soft_wrap=True)


def _spaces(spark: SparkSession, settings: Settings) -> Table:
    table = Table("library", "space", "active", "model", "dimension", "documents", EMBEDDED, EMPTY, QUARANTINED)
    table.add_column("chunks")
    table.add_column("unknown tokens")
    unknown = _unknown_shares(space_tables(spark, settings))
    spaces = newest_rows_of(space_tables(spark, settings).read(SPACES.name))
    rows = spaces.where(F.col("state") != DROPPED).orderBy("library", "space").collect()
    for row in rows:
        tables = tables_of_row(spark, settings.store, row)
        counts = _counts(tables)
        shown = [f"{counts.get(name, 0):,}" for name in ("documents", EMBEDDED, EMPTY, QUARANTINED, "chunks")]
        active = "yes" if row.active else ""
        share = unknown.get((row.library, row.space), "")
        table.add_row(row.library, row.space, active, row.model_fingerprint[:12], str(row.dimension), *shown, share)
    return table


def _unknown_shares(tables: SpaceTables) -> dict[tuple[str, str], str]:
    """Returns, by library and space, which share of the tokens that its runs have cut the model does not know."""
    if not tables.exists(RUNS.name):
        return {}
    # Runs of earlier versions did not count them.
    runs = tables.read(RUNS.name).where((F.col("event") == FINISHED) & count_of("tokens_unknown").isNotNull())
    # Runs of earlier versions took no chunks from another space.
    taken = F.coalesce(count_of("tokens_taken"), F.lit(0))
    cut = F.sum(count_of("tokens_embedded") + count_of("tokens_saved") - taken)
    sums = runs.groupBy("library", "space").agg(F.sum(count_of("tokens_unknown")).alias("unknown"), cut.alias("cut"))
    return {
        (row["library"], row["space"]): f"{row['unknown'] / row['cut']:.1%}" for row in sums.collect() if row["cut"]
    }


def _counts(tables: SpaceTables) -> dict[str, int]:
    # A run that was stopped while it created its tables leaves a space without them.
    if not tables.exists(LEDGER.name):
        return {}
    summary = summarise_ledger(tables.read(LEDGER.name))
    return {**summary.statuses, "documents": summary.documents, "chunks": summary.chunks}


def _last_runs(events: DataFrame) -> DataFrame:
    """Finds the last runs of each space, one row each, ordered by run numbers and kinds of event, not by clocks."""
    is_end, is_slice = F.col("event").isin(*ENDS), F.col("event") == SLICE_COMMITTED
    order = F.struct(is_end, F.coalesce("slice_number", F.lit(0)))
    runs = events.groupBy("library", "space", "run_number").agg(
        F.bool_or(is_end).alias("ended"),
        F.max_by(
            F.struct("run_id", "event", "event_time", "owner", "plan", "counts", "seconds", "message"), order
        ).alias("last"),
        F.count_if(is_slice).alias("slices"),
        F.sum(F.when(is_slice, count_of("chunks"))).alias("chunks"),
        F.sum(F.when(is_slice, count_of("tokens_embedded"))).alias("tokens_embedded"),
    )
    newest = Window.partitionBy("library", "space").orderBy(F.desc("run_number"))
    return (
        runs.withColumn("age", F.row_number().over(newest))
        .where(F.col("age") <= _RUNS_SHOWN)
        .orderBy("library", "space", F.desc("run_number"))
    )


def _runs(tables: SpaceTables) -> Table:
    table = Table("run", "last event", "at (UTC)", "plan", "documents", "slices", "chunks", "tokens embedded")
    for name in (QUARANTINED, "seconds", "message"):
        table.add_column(name)
    for row in _last_runs(tables.read(RUNS.name)).collect():
        table.add_row(*_run_cells(row))
    return table


def _run_cells(row: Row) -> list[str]:
    last, counts = row["last"], row["last"].counts or {}
    # A run without an end has only the counts of its slices.
    totals = counts if row.ended else {"chunks": row.chunks or 0, "tokens_embedded": row.tokens_embedded or 0}
    documents = sum(counts.get(change, 0) for change in CHANGES) if CHANGES[0] in counts else None
    quarantined = counts.get(f"library_{QUARANTINED}")
    cells = [
        last.run_id,
        last.event if row.ended else _UNFINISHED,
        f"{last.event_time:%Y-%m-%d %H:%M:%S}",
        last.plan or "",
        "" if documents is None else f"{documents:,}",
        # A run of one slice has no event of its own for it.
        f"{max(row.slices, totals.get('slices', 0)):,}",
        f"{totals.get('chunks', 0):,}",
        f"{totals.get('tokens_embedded', 0):,}",
        "" if quarantined is None else f"{quarantined:,}",
        f"{sum((last.seconds or {}).values()):.0f}",
        last.message or ("" if row.ended else _why_unfinished(row)),
    ]
    # Messages of Spark begin with the name of a condition in brackets, which rich would read as a style.
    return [escape(cell) for cell in cells]


def _why_unfinished(row: Row) -> str:
    return "a later run went on" if row.age > 1 else f"at work or dead: {row['last'].owner}"


def command(config: Config, overrides: Overrides = None, debug: Debug = False, log_format: LogAs = "text") -> None:
    """Show the store: spaces, runs, counts, and what a run would do now."""
    guarded(lambda settings: run(session(settings, debug), settings, output()), config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
