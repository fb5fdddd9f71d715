"""What telemetry costs a run: with a collector, with one that is down, and with one that answers after seconds."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from tests.benchmarks.fixed_cost import settings_for, write_texts
from tests.benchmarks.own_process import in_own_process
from tests.support.otlp_receiver import collector
from tests.validate.outcome import Outcome

_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SLOW_SECONDS = 5.0
_MOST = 0.02
_COLD_ROUNDS = 3


def free_port() -> int:
    """Finds a port on which nobody listens.

    Returns:
        Its number.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def asked_for(kind: str) -> Iterator[None]:
    """Sets what a command finds: `off`, or a collector that is `up`, `down` or `slow`.

    Args:
        kind: Which.

    Yields:
        Nothing.
    """
    with collector(_SLOW_SECONDS if kind == "slow" else 0.0) as received:
        if kind != "off":
            os.environ[_VARIABLE] = received.endpoint if kind != "down" else f"http://127.0.0.1:{free_port()}"
        try:
            yield
        finally:
            os.environ.pop(_VARIABLE, None)


def times_of(job: Callable[[], object]) -> tuple[float, float, float]:
    """Runs a job as a command does.

    Args:
        job: What the command is for.

    Returns:
        Seconds of the command, of which behind the job, and of this process's processor.
    """
    from spark_jobs.runtime.command import ended

    done: list[float] = []

    def work() -> None:
        job()
        done.append(time.perf_counter())

    began, at_work = time.perf_counter(), time.process_time()
    ended(work, debug=False)
    end = time.perf_counter()
    return end - began, end - done[0], time.process_time() - at_work


def telemetry(outcome: Outcome, texts: int = 300, rounds: int = 5) -> None:
    """Times first loads in one warm session, in turns without telemetry and with each kind of collector.

    Args:
        outcome: Where figures and checks go.
        texts: Texts of each load.
        rounds: How often each kind has its turn.
    """
    from spark_jobs.embed_library import run
    from spark_jobs.runtime.log import current_log
    from spark_jobs.runtime.session import get_session

    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    drawn = [" ".join(f"word{number * place % 997}" for place in range(1, 100)) for number in range(texts)]
    source, kinds = write_texts(folder / "texts.parquet", drawn), ("off", "up", "down", "slow")
    taken: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in kinds}

    def load(place: str) -> None:
        settings = settings_for(source, place, "fake:8", "torch")
        with current_log().progress(is_silent=True).live() as progress:
            run(get_session(settings.spark, quiet=True), settings, progress=progress)

    for number in range(rounds + 1):
        # Each kind has each place in a round once, because a session gets faster.
        turn = number % len(kinds)
        for kind in (*kinds[turn:], *kinds[:turn]):
            with asked_for(kind):
                times = times_of(partial(load, str(folder / f"lake-{number}-{kind}")))
            print(f"      round {number}: {kind} {times[0]:.2f} s, {times[1]:.3f} s of it behind the run", flush=True)
            # The first round warms up the session.
            if number:
                taken[kind].append(times)
    # A command starts cold; a warm session only tells the kinds apart sooner.
    cold = median(
        in_own_process(cold_seconds, source, str(folder / f"cold-{number}")) for number in range(_COLD_ROUNDS)
    )
    shutil.rmtree(folder)
    without = [median(column) for column in zip(*taken["off"], strict=True)]
    outcome.measured(texts=texts, rounds=rounds, seconds_off=without[0], least_off=min(taken["off"])[0])
    outcome.measured(seconds_of_a_cold_command=cold)
    for kind in kinds[1:]:
        seconds, behind, processor = (median(column) for column in zip(*taken[kind], strict=True))
        outcome.measured(**{f"seconds_{kind}": seconds, f"least_{kind}": min(taken[kind])[0]})
        # Whole commands differ by more than this share where a machine has other work; what telemetry does to them is
        # to wait at the end, and to use the driver's processor.
        added = behind + max(0.0, processor - without[2])
        outcome.measured(**{f"seconds_added_{kind}": added})
        outcome.at_most(f"seconds that a collector that is {kind} adds, of a cold command's", added / cold, _MOST)
    outcome.measured(seconds_of_processor_to_import=in_own_process(import_seconds))


def cold_seconds(source: str, place: str) -> float:
    """Loads the texts once, in a session that is started for it.

    Args:
        source: Parquet file with id and text.
        place: Folder of the store.

    Returns:
        Seconds from before the session starts, without those of the interpreter and its imports.
    """
    from spark_jobs.embed_library import run
    from spark_jobs.runtime.session import get_session

    began = time.perf_counter()
    settings = settings_for(source, place, "fake:8", "torch")
    run(get_session(settings.spark, quiet=True), settings)
    return time.perf_counter() - began


def import_seconds() -> float:
    """Imports what telemetry needs, which a command does while its session starts.

    Returns:
        Seconds of the processor.
    """
    began = time.process_time()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: F401
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: F401

    return time.process_time() - began
