"""What all verbs of the command line share: options, the session, output, and how errors end."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import SparkSession
from rich.console import Console

from schemas.errors import EmbedlakeError, InputError, StoppedError
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.session import get_session
from spark_jobs.runtime.signals import stop_in_order
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.settings.loading import Settings, load_settings

K = Annotated[int, typer.Option("-k", "--top-k", min=1, max=10_000, help="Hits of each query.")]
AsJson = Annotated[bool, typer.Option("--json", help="Prints JSON.")]

_WORKER_ERROR = re.compile(r"^(?:schemas\.errors\.InputError|ModuleNotFoundError): (.+)$", re.MULTILINE)
Config = Annotated[Path, typer.Option("--config", help="Settings file (YAML).")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides a setting.")]
Debug = Annotated[bool, typer.Option("--debug", help="Shows stack traces and Spark's own messages.")]


def session(settings: Settings, debug: bool) -> SparkSession:
    """Finds or starts the session.

    Args:
        settings: The whole configuration.
        debug: Whether Spark may speak.

    Returns:
        The session.
    """
    return get_session(_with_log_level(settings, debug).spark, quiet=not debug)


@contextmanager
def watched_session(settings: Settings, debug: bool) -> Iterator[tuple[SparkSession, Progress]]:
    """Finds or starts the session of a verb that writes: with progress, and stopped in order.

    Args:
        settings: The whole configuration.
        debug: Whether Spark may speak.

    Yields:
        The session, and where progress is shown.
    """
    # Progress on standard error, the summary on standard output: a scheduler can keep them apart.
    with Progress(Console(stderr=True)).live() as progress:
        with progress.step("session"):
            spark = session(settings, debug)
        # From here on: starting Java sets handlers of its own.
        with stop_in_order():
            yield spark, progress


def show(text: str) -> None:
    """Prints text as it is on standard output.

    Args:
        text: Lines.
    """
    output().print(text, highlight=False, markup=False, soft_wrap=True)


def output() -> Console:
    """Opens standard output.

    Returns:
        A console; a file or a pipe has no width, and tables in it are cut for nobody.
    """
    return Console(width=None if sys.stdout.isatty() else 200)


def _with_log_level(settings: Settings, debug: bool) -> Settings:
    if not debug:
        return settings
    properties = {"spark.log.level": "INFO", **settings.spark.properties}
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"properties": properties})})


def guarded(job: Callable[[Settings], object], config: Path, overrides: list[str] | None, debug: bool) -> None:
    """Loads the settings and runs a job; ends the process with the exit code of what it raises.

    Args:
        job: What to do.
        config: Settings file.
        overrides: Settings that count more than the file's.
        debug: Whether stack traces are shown.

    Raises:
        SystemExit: The job failed or was stopped; the message is on standard error.
    """
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
