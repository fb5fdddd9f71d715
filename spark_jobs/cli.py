"""The command line: each verb is one job."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.errors import EmbedlakeError, InputError
from spark_jobs import embed_library, store_status
from spark_jobs.causes import cause_of
from spark_jobs.progress import Progress
from spark_jobs.session import get_session
from spark_jobs.settings import Settings, load_settings
from udfs import __version__

app = typer.Typer(
    help="Keeps a Delta table of embeddings equal to a document library.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_WORKER_ERROR = re.compile(r"^(?:schemas\.errors\.InputError|ModuleNotFoundError): (.+)$", re.MULTILINE)

Config = Annotated[Path, typer.Option("--config", help="Settings file (YAML).")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides a setting.")]
Debug = Annotated[bool, typer.Option("--debug", help="Shows stack traces and Spark's own messages.")]
AllowRemovals = Annotated[
    bool, typer.Option("--allow-removals", help="Lets documents go beyond run.max_removed_fraction.")
]


@app.command()
def embed(
    config: Config, overrides: Overrides = None, allow_removals: AllowRemovals = False, debug: Debug = False
) -> None:
    """Embeds what is new in the library and takes out what is gone."""

    def job(settings: Settings) -> None:
        # Progress on standard error, the summary on standard output: a scheduler can keep them apart.
        with Progress(Console(stderr=True)).live() as progress:
            with progress.step("session"):
                spark = get_session(_with_log_level(settings, debug).spark, quiet=not debug)
            report = embed_library.run(spark, settings, allow_removals, progress)
        _output().print(str(report), highlight=False, markup=False, soft_wrap=True)

    _guarded(job, config, overrides, debug)


@app.command()
def status(config: Config, overrides: Overrides = None, debug: Debug = False) -> None:
    """Shows the store: spaces, runs, counts."""

    def job(settings: Settings) -> None:
        spark = get_session(_with_log_level(settings, debug).spark, quiet=not debug)
        store_status.run(spark, settings, _output())

    _guarded(job, config, overrides, debug)


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


def _output() -> Console:
    # A file or a pipe has no width: tables in it are cut for nobody.
    return Console(width=None if sys.stdout.isatty() else 200)


def _with_log_level(settings: Settings, debug: bool) -> Settings:
    if not debug:
        return settings
    properties = {"spark.log.level": "INFO", **settings.spark.properties}
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"properties": properties})})


def _guarded(job: Callable[[Settings], None], config: Path, overrides: list[str] | None, debug: bool) -> None:
    try:
        job(load_settings(config, overrides))
    except KeyboardInterrupt:
        typer.echo("embedlake: stopped; what was committed stays, run again to go on", err=True)
        raise SystemExit(130) from None
    except Exception as error:
        if debug:
            raise
        message, code = _explained(error)
        typer.echo(f"embedlake: {message}", err=True)
        raise SystemExit(code) from None


def _explained(error: Exception) -> tuple[str, int]:
    if isinstance(error, EmbedlakeError):
        return str(error), error.exit_code
    # A worker's traceback ends with the error itself, as `module.Name: message`.
    from_worker = _WORKER_ERROR.findall(str(error))
    if from_worker:
        return f"on a worker: {from_worker[-1]}", InputError.exit_code
    return f"{cause_of(error)} (unexpected; --debug shows where)", 1
