"""The spaces job: the spaces of a library, what each was made with and from, and which one readers should use."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import typer
from pyspark.sql import SparkSession
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from spark_jobs.runtime.command import AsJson, Config, Debug, LogAs, Overrides, guarded, output, session, show
from spark_jobs.runtime.json_text import json_text
from spark_jobs.settings.loading import Settings
from spark_jobs.store.space_facts import SpaceFacts, chunking_text, find_spaces
from spark_jobs.store.tables import delta_session


def run(spark: SparkSession, settings: Settings) -> list[SpaceFacts]:
    """Finds out about the spaces of the settings' library; writes nothing.

    Args:
        spark: The live session.
        settings: Names the library and its store.

    Returns:
        The spaces, the oldest first.

    Raises:
        InputError: The store has a newer format.
    """
    with delta_session(spark):
        return find_spaces(spark, settings)


def as_table(spaces: list[SpaceFacts], now: datetime) -> Table:
    """Renders spaces, with the age of each as of `now`."""
    table = Table("space", "state", "model", "dimension", "chunking", "documents", "chunks", "size", "source version")
    table.add_column("last finished")
    table.add_column("quality")
    for each in spaces:
        cells = [
            *(each.space, each.state, f"{each.model} {each.model_fingerprint[:12]}"),
            f"{each.dimension} {each.precision}",
            chunking_text(each.chunking),
            *(f"{each.documents:,}", f"{each.chunks:,}", decimal(each.bytes)),
            "" if each.source_version is None else str(each.source_version),
            "" if each.finished_at is None else _age(now - each.finished_at.astimezone(UTC)),
            "" if each.quality is None else f"{each.quality.measure} {each.quality.value:.3f} ({each.quality.queries})",
        ]
        # Names of models and files are not markup.
        table.add_row(*map(escape, cells))
    return table


def _age(age: timedelta) -> str:
    # Clocks differ; to the minute is enough.
    return f"{timedelta(minutes=max(age, timedelta()) // timedelta(minutes=1))} ago".replace(":00 ago", " ago")


def _print(settings: Settings, spaces: list[SpaceFacts], as_json: bool) -> None:
    if as_json:
        show(json_text([asdict(each) for each in spaces], indent=1))
    elif spaces:
        output().print(as_table(spaces, datetime.now(UTC)))
    else:
        show(f"Library {settings.library} has no spaces yet. Run embedlake embed.")


def command(
    config: Config,
    as_json: AsJson = False,
    overrides: Overrides = None,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """List the spaces of the library: model, chunking, counts, state, quality."""
    guarded(
        lambda settings: _print(settings, run(session(settings, debug), settings), as_json),
        config,
        overrides,
        debug,
        log_format,
    )


if __name__ == "__main__":
    typer.run(command)
