"""The follow job: a session that stays up and refreshes spaces as their sources change, until it is told to stop.

Start it as `embedlake follow --config F`, or by `spark-submit spark_jobs/follow_library.py --config F`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import SparkSession
from rich.console import Console

from schemas.errors import InputError
from schemas.plan import CHANGE_WORDS, UNCHANGED
from spark_jobs.embedding.following import Failed, Followed, Refreshed, Until, Waiting, follow
from spark_jobs.runtime.command import (
    Debug,
    LogAs,
    Overrides,
    ended,
    explained,
    new_progress,
    show,
    stoppable_session,
    tell_trace,
    worst,
)
from spark_jobs.runtime.events import Event
from spark_jobs.runtime.log import current_log
from spark_jobs.runtime.progress import Progress
from spark_jobs.settings.loading import Settings, load_spaces
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.tables import delta_session, location_of

Configs = Annotated[
    list[Path],
    typer.Option("--config", metavar="FILE", help="Settings file (YAML). Can be repeated: one session follows all."),
]
Once = Annotated[bool, typer.Option("--once", help="Run once for each space, and end.")]
UntilIdle = Annotated[bool, typer.Option("--until-idle", help="End as soon as a look finds nothing new at any source.")]


def run(
    spark: SparkSession,
    settings: Mapping[str, Settings],
    *,
    until: Until = "stopped",
    show_event: Callable[[Refreshed | Failed | Waiting], None] = lambda _: None,
    wait: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(Progress()),
) -> dict[str, int]:
    """Follows the sources of spaces: looks for changes, and refreshes the space whenever there are some.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration of each space, by the name that events give it.
        until: `stopped` goes on until a signal comes, `idle` ends once a look finds nothing new at any source, and
            `once` looks at each source once.
        show_event: Receives what happens.
        wait: Waits for so many seconds.
        now: Clock, in seconds.
        progress: Makes what shows the progress of one run.

    Returns:
        Exit code of the last attempt, by name; 0 where it succeeded.

    Raises:
        InputError: The session cannot use Delta tables.
        Exception: The session is gone.
    """
    codes = dict.fromkeys(settings, 0)
    with delta_session(spark):
        spaces = [Followed(name, with_file_system(spark, one)) for name, one in settings.items()]
        for event in follow(spark, spaces, until, progress, now):
            show_event(event)
            if isinstance(event, Waiting):
                wait(event.seconds)
            else:
                codes[event.space.name] = explained(event.error)[1] if isinstance(event, Failed) else 0
    return codes


def load_all(configs: Sequence[Path], overrides: list[str] | None) -> dict[str, Settings]:
    """Loads settings files that one session is to follow.

    Args:
        configs: Settings files.
        overrides: Settings that override all of them.

    Returns:
        The settings by library and space, and by file too where that is not enough.

    Raises:
        InputError: A file is invalid, two name the same space, or their settings of the session differ.
    """
    loaded: list[Settings] = []
    files: list[Path] = []
    faults: list[str] = []
    for config in configs:
        try:
            spaces = load_spaces(config, overrides)
            loaded += spaces
            files += [config] * len(spaces)
        except InputError as error:
            faults += error.faults if len(configs) == 1 else [f"{config}: {fault}" for fault in error.faults]
    if faults:
        raise InputError(faults)
    faults = _clashes(files, loaded)
    if faults:
        raise InputError(faults)
    own = [f"{one.library}.{one.space}" for one in loaded]
    names = [name if own.count(name) == 1 else f"{file} {name}" for file, name in zip(files, own, strict=True)]
    return dict(zip(names, loaded, strict=True))


def _clashes(configs: Sequence[Path], loaded: Sequence[Settings]) -> list[str]:
    faults, first = [], dict[str, Path]()
    for config, one in zip(configs, loaded, strict=True):
        other = first.setdefault(location_of(one).name("vectors"), config)
        if other is not config:
            faults.append(
                f"{other} and {config} name the same space {one.library}.{one.space}. Give each a space of its own."
            )
        if one.spark != loaded[0].spark:
            faults.append(
                f"{configs[0]} and {config} have different settings in spark, but one session follows both. Make them "
                "equal, or start a command for each."
            )
    return list(dict.fromkeys(faults))


def _show_event(event: Refreshed | Failed | Waiting, debug: bool) -> None:
    """Prints one line for a refresh on standard output, and one for a fault on standard error."""
    if isinstance(event, Waiting):
        for space in event.in_step:
            current_log().tell(Event("looked", _about(space)))
        return
    about = _about(event.space)
    start = f"{datetime.now().astimezone().isoformat(timespec='seconds')} {event.space.name}:"
    if isinstance(event, Refreshed):
        counts = event.report.counts
        changes = [f"{counts[c]:,} {words}" for c, words in CHANGE_WORDS.items() if c != UNCHANGED and counts[c]]
        changed = " · ".join(changes) or "nothing changed"
        show(f"{start} {changed} · {event.seconds:.1f} s · run {event.report.run_id}")
        for label, text in event.report.notes:
            if label == "warning":
                current_log().tell(Event("warning", {**about, "message": text}, f"{start} {text}", "warning"))
        return
    if debug:
        tell_trace(event.error, **about)
    message, code = explained(event.error)
    again = f" Next attempt in {event.seconds_to_next:.0f} s." if event.seconds_to_next is not None else ""
    values = {**about, "message": message, "exit_code": code, "seconds_to_next": event.seconds_to_next}
    # A message with several faults has several lines.
    current_log().tell(Event("error", values, f"{start} {' '.join(message.split())}{again}", "error"))


def _about(space: Followed) -> dict[str, str]:
    return {"library": space.settings.library, "space": space.settings.space}


def _wait(seconds: float, names: Sequence[str]) -> None:
    console = Console(stderr=True)
    if current_log().format == "json" or not console.is_terminal:
        time.sleep(seconds)
        return
    with console.status(f"waiting for changes of {', '.join(names)}"):
        time.sleep(seconds)


def command(
    config: Configs,
    overrides: Overrides = None,
    once: Once = False,
    until_idle: UntilIdle = False,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Keep spaces up to date: wait for changes of their sources, and refresh them, until stopped."""

    def work() -> None:
        if once and until_idle:
            raise InputError("--once and --until-idle exclude each other. Choose one.")
        settings = load_all(config, overrides)
        with stoppable_session(next(iter(settings.values())), debug) as spark:
            codes = run(
                spark,
                settings,
                until="once" if once else "idle" if until_idle else "stopped",
                show_event=lambda event: _show_event(event, debug),
                wait=lambda seconds: _wait(seconds, list(settings)),
                # Where nobody watches, a refresh is one line.
                progress=lambda: new_progress(is_silent=True).live(),
            )
        raise SystemExit(worst(codes.values()))

    ended(work, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
