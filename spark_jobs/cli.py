"""The command line: each verb is one job."""

import sys
import typer
from spark_jobs.evaluate_library import command
from spark_jobs.export_library import command
from spark_jobs.search_library import command
from udfs import __version__

app = typer.Typer(
    help="Keeps a Delta table of embeddings equal to a document library.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


for verb in (command, command, command):
    app.command()(verb)


@app.command()
def version() -> None:
    """Prints the version."""
    typer.echo(__version__)


def main() -> None:
    """Runs the command line."""
    app()


def submit(verb: str) -> None:
    """Runs one verb with the arguments that spark-submit passed on.

    Args:
        verb: Name of the command.
    """
    app([verb, *sys.argv[1:]])
