"""What a slice of a first load costs when many came before it."""

import os
import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from spark_jobs.runtime.progress import Progress
from spark_jobs.settings import as_settings
from tests.benchmarks.fixed_cost import write_texts
from tests.benchmarks.own_process import in_own_process
from tests.validate.outcome import Outcome

_TOKENS_A_TEXT = 12
_TICKS = os.sysconf("SC_CLK_TCK")


def slices(outcome: Outcome, number: int = 20, texts_a_slice: int = 10_000) -> None:
    """Compares the last slice of a first load with its second one; the first one also warms up the session.

    Processor seconds are compared, because other work on the machine changes the others.

    Args:
        outcome: Where figures and checks go.
        number: Slices.
        texts_a_slice: Texts of each.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    texts = [_text(number) for number in range(number * texts_a_slice)]
    source = write_texts(folder / "texts.parquet", texts)
    done = in_own_process(load, source, str(folder / "lake"), texts_a_slice * _TOKENS_A_TEXT)
    shutil.rmtree(folder)
    busy = done["processor_seconds"]
    outcome.measured(texts=len(texts), different_texts=len(set(texts)), embedded=done["embedded"])
    outcome.measured(processor_seconds=busy, seconds=done["seconds"])
    outcome.at_least("slices", len(busy), number)
    outcome.at_most("processor seconds of the last slice by those of the second", busy[number - 1] / busy[1], 1.1)


def load(source: str, store: str, slice_tokens: int) -> dict[str, Any]:
    """Loads a library with the stand-in model, which costs little beside what Spark does with its vectors.

    Args:
        source: Parquet file with id and text.
        store: Folder of the store.
        slice_tokens: Estimated tokens of a slice.

    Returns:
        Texts that were embedded, and for each slice its seconds and its processor seconds.
    """
    from spark_jobs.embed_library import run
    from spark_jobs.runtime.session import get_session

    values = {
        "library": "bench",
        "store": {"path": store},
        "source": {"format": "parquet", "path": source, "id_column": "id", "text_columns": ["text"]},
        "chunking": {"method": "none"},
        "model": {"path": "fake:384"},
        "run": {"slice_tokens": slice_tokens},
        "spark": {"master": "local[2]"},
    }
    settings, clock = as_settings(values), _Clock()
    report = run(get_session(settings.spark, quiet=True), settings, progress=clock)
    ends = [clock.start, *clock.ends]
    found = [[round(b - a, 1) for a, b in pairwise(ends)] for ends in zip(*ends, strict=True)]
    return {"embedded": report.counts["chunks_embedded"], "seconds": found[0], "processor_seconds": found[1]}


class _Clock(Progress):
    """Notes the time, and the processor time of all processes so far, at the start and after each slice."""

    start = (0.0, 0.0)

    def expect(self, total: int) -> None:
        self.start, self.ends = _now(), list[tuple[float, float]]()

    def advance(self, done: int, state: str) -> None:
        self.ends.append(_now())
        print(f"      {state}: {self.ends[-1][0] - self.start[0]:.1f} s", flush=True)


def _now() -> tuple[float, float]:
    return time.monotonic(), _processor_seconds()


def _processor_seconds() -> float:
    """Sums the processor time of this process and of all that it started, those that have ended included."""
    parents, ticks = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = folder.joinpath("stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(ticks[pid] for pid in ours) / _TICKS


def _text(number: int) -> str:
    # One text in fifty is boilerplate: one of 300 that occur in every slice.
    named = number % 15_000 if number % 50 == 0 else number
    # Texts of one length, so that equal numbers of tokens are equal numbers of texts.
    return f"Document {named:07} of {_TOKENS_A_TEXT} tokens, which are estimated."[: 4 * _TOKENS_A_TEXT]
