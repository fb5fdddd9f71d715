"""The command line: one command a job."""

from typing import Annotated

import typer

from spark_jobs import (
    calibrate_inference,
    embed_library,
    evaluate_library,
    export_library,
    list_quarantine,
    maintain_space,
    search_library,
    show_status,
    verify_space,
)
from udfs import __version__

app = typer.Typer(
    help="Keep a Delta table of embeddings in sync with a document library.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
BUILD, RETRIEVE, OPERATE = "Build and refresh", "Retrieve", "Operate"
app.command("embed", rich_help_panel=BUILD)(embed_library.command)
app.command("calibrate", rich_help_panel=BUILD)(calibrate_inference.command)
app.command("search", rich_help_panel=RETRIEVE)(search_library.command)
app.command("evaluate", rich_help_panel=RETRIEVE)(evaluate_library.command)
app.command("export", rich_help_panel=RETRIEVE)(export_library.command)
app.command("status", rich_help_panel=OPERATE)(show_status.command)
app.command("quarantine", rich_help_panel=OPERATE)(list_quarantine.command)
app.command("verify", rich_help_panel=OPERATE)(verify_space.command)
app.command("maintain", rich_help_panel=OPERATE)(maintain_space.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("version", hidden=True)
def print_version() -> None:
    """Print the version."""
    _print_version(True)


def main() -> None:
    """Run the command line."""
    app()
