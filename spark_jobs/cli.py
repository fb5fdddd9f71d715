"""The command line: each verb is one job."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import SparkSession
from rich.console import Console

from schemas.errors import EmbedlakeError, InputError, StoppedError
from spark_jobs import calibrate_inference, embed_library, list_quarantine, maintain_space, store_status, verify_space
from spark_jobs.causes import cause_of
from spark_jobs.progress import Progress
from spark_jobs.session import get_session
from spark_jobs.settings import Settings, load_settings
from spark_jobs.signals import stop_in_order
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

RetryQuarantined = Annotated[
    bool, typer.Option("--retry-quarantined", help="Tries quarantined documents again, up to run.max_attempts.")
]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Goes on although another run has not ended; that one then stops.")
]
Repair = Annotated[bool, typer.Option("--repair", help="Marks what is wrong, so that the next run does it again.")]
Force = Annotated[bool, typer.Option("--force", help="Lets files go before readers are sure not to need them.")]


@app.command()
def embed(
    config: Config,
    overrides: Overrides = None,
    allow_removals: AllowRemovals = False,
    retry_quarantined: RetryQuarantined = False,
    take_over: TakeOver = False,
    debug: Debug = False,
) -> None:
    """Embeds what is new in the library and takes out what is gone."""

    def job(settings: Settings) -> None:
        # Progress on standard error, the summary on standard output: a scheduler can keep them apart.
        with Progress(Console(stderr=True)).live() as progress:
            with progress.step("session"):
                spark = _session(settings, debug)
            # From here on: starting Java sets handlers of its own.
            with stop_in_order():
                report = embed_library.run(
                    spark,
                    settings,
                    allow_removals=allow_removals,
                    retry_quarantined=retry_quarantined,
                    take_over=take_over,
                    progress=progress,
                )
        _print(str(report))

    _guarded(job, config, overrides, debug)


@app.command()
def status(config: Config, overrides: Overrides = None, debug: Debug = False) -> None:
    """Shows the store: spaces, runs, counts, and what a run would do now."""
    _guarded(
        lambda settings: store_status.run(_session(settings, debug), settings, _output()), config, overrides, debug
    )


@app.command()
def quarantine(config: Config, overrides: Overrides = None, debug: Debug = False) -> None:
    """Lists the documents that could not be embedded, with the reason."""
    _guarded(
        lambda settings: list_quarantine.run(_session(settings, debug), settings, _output()), config, overrides, debug
    )


@app.command()
def verify(config: Config, overrides: Overrides = None, repair: Repair = False, debug: Debug = False) -> None:
    """Checks every row of the space's tables; reads all of them."""
    _guarded(
        lambda settings: _print(str(verify_space.run(_session(settings, debug), settings, repair=repair))),
        config,
        overrides,
        debug,
    )


@app.command()
def maintain(config: Config, overrides: Overrides = None, force: Force = False, debug: Debug = False) -> None:
    """Compacts the space's tables and removes files that no version in use needs."""
    _guarded(
        lambda settings: _print(str(maintain_space.run(_session(settings, debug), settings, force=force))),
        config,
        overrides,
        debug,
    )


@app.command()
def calibrate(
    config: Config,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for the figures and the picture.")] = Path("calibration"),
    texts: Annotated[int, typer.Option(min=16, help="Chunks of the library to try with.")] = 256,
    rounds: Annotated[int, typer.Option(min=3, help="How often each size is tried.")] = 3,
    debug: Debug = False,
) -> None:
    """Tries sizes of forward passes on the library's own texts and recommends one."""
    _guarded(
        lambda settings: calibrate_inference.run(_session(settings, debug), settings, _output(), out, texts, rounds),
        config,
        overrides,
        debug,
    )


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


def _session(settings: Settings, debug: bool) -> SparkSession:
    return get_session(_with_log_level(settings, debug).spark, quiet=not debug)


def _print(text: str) -> None:
    _output().print(text, highlight=False, markup=False, soft_wrap=True)


def _output() -> Console:
    # A file or a pipe has no width: tables in it are cut for nobody.
    return Console(width=None if sys.stdout.isatty() else 200)


def _with_log_level(settings: Settings, debug: bool) -> Settings:
    if not debug:
        return settings
    properties = {"spark.log.level": "INFO", **settings.spark.properties}
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"properties": properties})})


def _guarded(job: Callable[[Settings], object], config: Path, overrides: list[str] | None, debug: bool) -> None:
    try:
        job(load_settings(config, overrides))
    except KeyboardInterrupt as error:
        typer.echo("embedlake: stopped; what was committed stays: run the same command again to go on", err=True)
        raise SystemExit(error.exit_code if isinstance(error, StoppedError) else 130) from None
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
