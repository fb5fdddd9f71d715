"""The command line: each verb is one job."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from spark_jobs import calibrate_inference, embed_library, list_quarantine, maintain_space, store_status, verify_space
from spark_jobs.cli_common import Config, Debug, Overrides, guarded, output, session, show, watched_session
from spark_jobs.cli_retrieval import evaluate, export, search
from spark_jobs.settings import Settings
from udfs import __version__

app = typer.Typer(
    help="Keeps a Delta table of embeddings equal to a document library.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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
        with watched_session(settings, debug) as (spark, progress):
            report = embed_library.run(
                spark,
                settings,
                allow_removals=allow_removals,
                retry_quarantined=retry_quarantined,
                take_over=take_over,
                progress=progress,
            )
        show(str(report))

    guarded(job, config, overrides, debug)


@app.command()
def status(config: Config, overrides: Overrides = None, debug: Debug = False) -> None:
    """Shows the store: spaces, runs, counts, and what a run would do now."""
    guarded(lambda settings: store_status.run(session(settings, debug), settings, output()), config, overrides, debug)


@app.command()
def quarantine(config: Config, overrides: Overrides = None, debug: Debug = False) -> None:
    """Lists the documents that could not be embedded, with the reason."""
    guarded(
        lambda settings: list_quarantine.run(session(settings, debug), settings, output()), config, overrides, debug
    )


@app.command()
def verify(config: Config, overrides: Overrides = None, repair: Repair = False, debug: Debug = False) -> None:
    """Checks every row of the space's tables; reads all of them."""
    guarded(
        lambda settings: show(str(verify_space.run(session(settings, debug), settings, repair=repair))),
        config,
        overrides,
        debug,
    )


@app.command()
def maintain(config: Config, overrides: Overrides = None, force: Force = False, debug: Debug = False) -> None:
    """Compacts the space's tables and removes files that no version in use needs."""
    guarded(
        lambda settings: show(str(maintain_space.run(session(settings, debug), settings, force=force))),
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
    guarded(
        lambda settings: calibrate_inference.run(session(settings, debug), settings, output(), out, texts, rounds),
        config,
        overrides,
        debug,
    )


for verb in (search, evaluate, export):
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
