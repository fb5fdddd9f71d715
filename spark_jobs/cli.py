"""The command line: one command for each job."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from spark_jobs import (
    calibrate_inference,
    check_platform,
    compare_spaces,
    drop_space,
    embed_library,
    evaluate_library,
    export_library,
    follow_library,
    list_quarantine,
    list_spaces,
    maintain_space,
    plan_library,
    promote_space,
    report_library,
    rollback_space,
    search_library,
    show_status,
    verify_space,
)
from udfs import __version__


class _BareFlags:
    """Shows flags in the help without a type after them, `--help` included."""

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return parameters


class _Command(_BareFlags, TyperCommand):
    pass


class _Group(_BareFlags, TyperGroup):
    pass


app = typer.Typer(
    cls=_Group,
    help="Keep Delta tables of embeddings in sync with a document library.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
BUILD, RETRIEVE = "Build and refresh", "Search, evaluate and export"
SPACES, OPERATE = "Change to another model", "Operate"
app.command("embed", cls=_Command, rich_help_panel=BUILD)(embed_library.command)
app.command("plan", cls=_Command, rich_help_panel=BUILD)(plan_library.command)
app.command("follow", cls=_Command, rich_help_panel=BUILD)(follow_library.command)
app.command("calibrate", cls=_Command, rich_help_panel=BUILD)(calibrate_inference.command)
app.command("search", cls=_Command, rich_help_panel=RETRIEVE)(search_library.command)
app.command("evaluate", cls=_Command, rich_help_panel=RETRIEVE)(evaluate_library.command)
app.command("export", cls=_Command, rich_help_panel=RETRIEVE)(export_library.command)
app.command("spaces", cls=_Command, rich_help_panel=SPACES)(list_spaces.command)
app.command("compare", cls=_Command, rich_help_panel=SPACES)(compare_spaces.command)
app.command("promote", cls=_Command, rich_help_panel=SPACES)(promote_space.command)
app.command("rollback", cls=_Command, rich_help_panel=SPACES)(rollback_space.command)
app.command("drop", cls=_Command, rich_help_panel=SPACES)(drop_space.command)
app.command("doctor", cls=_Command, rich_help_panel=OPERATE)(check_platform.command)
app.command("status", cls=_Command, rich_help_panel=OPERATE)(show_status.command)
app.command("report", cls=_Command, rich_help_panel=OPERATE)(report_library.command)
app.command("quarantine", cls=_Command, rich_help_panel=OPERATE)(list_quarantine.command)
app.command("verify", cls=_Command, rich_help_panel=OPERATE)(verify_space.command)
app.command("maintain", cls=_Command, rich_help_panel=OPERATE)(maintain_space.command)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("version", cls=_Command, hidden=True)
def print_version() -> None:
    """Print the version."""
    _print_version(True)


def main() -> None:
    """Run the command line, in UTF-8 whatever the locale says: arguments and settings hold names of files and ids."""
    if sys.getfilesystemencoding().lower() != "utf-8":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})
    app()


def task() -> None:
    """Run the command line inside a process that goes on, as a Python wheel task of Databricks is.

    Such a platform takes any `SystemExit` for a failure, that of a success too.
    """
    try:
        app()
    except SystemExit as ended:
        if ended.code:
            raise
