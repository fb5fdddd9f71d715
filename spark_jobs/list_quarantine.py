"""The quarantine job: which documents could not be embedded, and why; never their text."""

import typer
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from schemas.ledger import LEDGER, QUARANTINED
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, guarded, output, session
from spark_jobs.runtime.session import require_delta
from spark_jobs.settings.loading import Settings
from spark_jobs.store.spaces import registered
from spark_jobs.store.tables import space_tables

# If every document of a library fails, the first thousand are enough to see why.
_SHOWN = 1000


def run(spark: SparkSession, settings: Settings, console: Console) -> None:
    """Prints the quarantined documents of the settings' space, ordered by id."""
    require_delta(spark)
    registered(spark, settings)
    tables = space_tables(spark, settings)
    if not tables.exists(LEDGER.name):
        console.print(f"No run has written to space {settings.library}.{settings.space} yet.")
        return
    quarantined = tables.read(LEDGER.name).where(F.col("status") == QUARANTINED)
    total = quarantined.count()
    table = Table("document", "reason", "detail", "attempts", "last run")
    for row in quarantined.orderBy("doc_id").limit(_SHOWN).collect():
        # Escaped, so that an id with a line break or control characters stays one harmless line.
        table.add_row(ascii(row.doc_id)[1:-1], row.reason, row.detail, str(row.attempts), row.run_id)
    if total:
        console.print(table)
    console.print(f"{total:,} documents in quarantine" + (f", the first {_SHOWN:,} shown" if total > _SHOWN else ""))


def command(config: Config, overrides: Overrides = None, debug: Debug = False, log_format: LogAs = "text") -> None:
    """List the documents that could not be embedded, with the reason."""
    guarded(lambda settings: run(session(settings, debug), settings, output()), config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
