"""What all commands share: their common options, the session, output, and how errors end the process."""

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import SparkSession
from rich.console import Console

from schemas.errors import EmbedlakeError, InputError, StoppedError
from spark_jobs.runtime.cluster import missing_package
from spark_jobs.runtime.events import Event
from spark_jobs.runtime.executors import warn_without_executors
from spark_jobs.runtime.lineage import with_lineage_tags
from spark_jobs.runtime.log import LogFormat, current_log, logged
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.query_log import silent_query_log
from spark_jobs.runtime.session import ends_java, get_session
from spark_jobs.runtime.signals import stop_in_order
from spark_jobs.runtime.spark_errors import cause_of, cluster_cause, store_fault, worker_message
from spark_jobs.runtime.telemetry import telemetry
from spark_jobs.settings.loading import Settings, load_settings

Config = Annotated[Path, typer.Option("--config", help="Settings file (YAML).")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting. Can be repeated.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show stack traces and Spark's own messages.")]
LogAs = Annotated[
    LogFormat, typer.Option("--log-format", help="Write events as lines of text, or as one JSON object a line.")
]
K = Annotated[int, typer.Option("-k", "--top-k", min=1, max=10_000, help="Number of hits for each query.")]
Reason = Annotated[str | None, typer.Option(help="Record why.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# The first ones may go by themselves. Those that need a person must not be hidden by them.
_FROM_LEAST_TO_WORST = (0, 8, 4, 1, 2, 3, 5, 6)
_JAVA_ENDED = (
    "Spark's Java process died, most often because its memory was too small. Give it more in the settings, as in "
    "spark.properties: {spark.driver.memory: 8g}, and run the same command again; what was committed stays."
)


def session(settings: Settings, debug: bool) -> SparkSession:
    """Finds or starts the session; Spark's own messages are shown only if `debug` is set."""
    began = time.monotonic()
    spark = get_session(_with_log_level(settings, debug).spark, quiet=not debug)
    values = {"seconds": round(time.monotonic() - began, 3), "spark_version": getattr(spark, "version", None)}
    current_log().tell(Event("session", values))
    warn_without_executors(spark, current_log().warn)
    return spark


@contextmanager
def watched_session(settings: Settings, debug: bool) -> Iterator[tuple[SparkSession, Progress]]:
    """Finds or starts the session of a command that writes, shows its progress, and stops it cleanly."""
    # Progress on standard error, the summary on standard output: a scheduler can keep them apart.
    with current_log().progress().live() as progress:
        with progress.step("session"):
            spark = session(with_lineage_tags(settings), debug)
        # Only now, because Java sets handlers of its own when it starts.
        with stop_in_order():
            yield spark, progress


@contextmanager
def stoppable_session(settings: Settings, debug: bool) -> Iterator[SparkSession]:
    """As `watched_session`, for a command whose runs each show a progress of their own."""
    with current_log().progress().live() as progress, progress.step("session"):
        spark = session(settings, debug)
    # Only now, because Java sets handlers of its own when it starts.
    with stop_in_order():
        yield spark


def new_progress(is_silent: bool = False) -> Progress:
    """Makes the progress of a job of this command; `is_silent` leaves out lines where nobody watches a terminal."""
    return current_log().progress(is_silent)


def show(text: str) -> None:
    """Prints text as it is on standard output."""
    output().print(text, highlight=False, markup=False, soft_wrap=True)


def output() -> Console:
    """Opens standard output; a file or pipe gets a width that cuts no table."""
    # Without emoji, because `:smile:` in a document is not to be replaced, least of all in JSON.
    return Console(width=None if sys.stdout.isatty() else 200, emoji=False)


def _with_log_level(settings: Settings, debug: bool) -> Settings:
    if not debug:
        return settings
    properties = {"spark.log.level": "INFO", **settings.spark.properties}
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"properties": properties})})


def guarded(
    job: Callable[[Settings], object],
    config: Path,
    overrides: list[str] | None,
    debug: bool,
    log_format: LogFormat = "text",
) -> None:
    """Loads the settings and runs a job; if it fails, ends the process with the error's exit code.

    Args:
        job: What to do with the settings.
        config: Settings file.
        overrides: Settings that override the file.
        debug: Whether to show the stack trace of an error instead of its message; the exit code is then 1.
        log_format: How to write what happens.

    Raises:
        SystemExit: The job failed or was stopped; the message is on standard error.
    """

    def work() -> None:
        settings = load_settings(config, overrides)
        current_log().about.update(library=settings.library, space=settings.space)
        job(settings)

    ended(work, debug, log_format)


def reported(
    job: Callable[[SparkSession, Settings, Progress], object],
    config: Path,
    overrides: list[str] | None,
    debug: bool,
    log_format: LogFormat = "text",
) -> None:
    """Runs a job in a session whose progress is shown, and prints the report that it returns; fails as `guarded` says.

    Args:
        job: What to do.
        config: Settings file.
        overrides: Settings that override the file.
        debug: Whether to show the stack trace of an error.
        log_format: How to write what happens.
    """

    def work(settings: Settings) -> None:
        with watched_session(settings, debug) as (spark, progress):
            report = job(spark, settings, progress)
        show(str(report))

    guarded(work, config, overrides, debug, log_format)


def ended(work: Callable[[], object], debug: bool, log_format: LogFormat = "text") -> None:
    """Does what a command is for; if it fails, ends the process with the error's exit code, as `guarded` says."""
    with logged(log_format) as log, telemetry(log.warn) as observers:
        log.observers += observers
        try:
            _check_encoding()
            with nullcontext() if debug else silent_query_log():
                work()
        except KeyboardInterrupt as error:
            code = error.exit_code if isinstance(error, StoppedError) else 130
            message = "stopped. What was committed stays. Run the same command again to continue."
            values = {"message": message, "exit_code": code}
            current_log().tell(Event("stopped", values, f"embedlake: {message}", "warning"))
            raise SystemExit(code) from None
        except Exception as error:
            if debug:
                tell_trace(error, exit_code=1)
                raise SystemExit(1) from None
            raise SystemExit(tell(error)) from None


def _check_encoding() -> None:
    # Python chooses UTF-8 by itself where the locale is C, POSIX or missing.
    encoding = sys.getfilesystemencoding()
    if encoding.lower() != "utf-8":
        raise InputError(
            f"Python reads arguments and names of files as {encoding} here. Set the environment variable PYTHONUTF8=1."
        )


def tell(error: Exception, before: str = "embedlake: ", **about: object) -> int:
    """Tells of an error on standard error, and returns its exit code.

    Args:
        error: What happened.
        before: What stands before its message, for people.
        **about: Values of the event, such as the space.

    Returns:
        The exit code.
    """
    message, code = explained(error)
    values = {**about, "message": message, "exit_code": code}
    current_log().tell(Event("error", values, f"{before}{message}", "error"))
    return code


def tell_trace(error: Exception, **about: object) -> None:
    """Tells where an error comes from, with its own message, which may quote data."""
    # Written here, not left to typer: its own traces can show local variables, which hold texts of documents.
    trace = "".join(traceback.format_exception(error)).rstrip("\n")
    current_log().tell(Event("trace", {**about, "message": trace}, trace, "error"))


def explained(error: Exception) -> tuple[str, int]:
    """Returns what a person is told of an error, and its exit code."""
    if isinstance(error, EmbedlakeError):
        return str(error), error.exit_code
    if ends_java(error):
        return _JAVA_ENDED, 1
    from_worker = worker_message(error)
    if from_worker is not None:
        return missing_package(from_worker) or f"on a worker: {from_worker}", InputError.exit_code
    of_cluster = cluster_cause(error)
    if of_cluster is not None:
        return of_cluster, InputError.exit_code
    fault = store_fault(error)
    if fault is not None:
        return str(fault), fault.exit_code
    return f"{cause_of(error)} (unexpected; --debug shows where)", 1


def worst(codes: Iterable[int]) -> int:
    """Chooses the exit code that a person must see: success, then what goes by itself, then what does not."""
    return max(codes, key=_FROM_LEAST_TO_WORST.index)
