"""How soon a changed document is searchable behind a follower: one of many, by the change feed, in a warm session."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from tests.validate.outcome import Outcome

DOCUMENTS = 100_000
# Java still compiles what the first refreshes run.
_WARM_UP = 3
_CHANGES = 7
_MOST_SECONDS = 900.0


def follow(outcome: Outcome) -> None:
    """Changes one document of a Delta source again and again beside a follower that looks every second.

    Args:
        outcome: Where figures and checks go.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    source, vectors = folder / "source", folder / "lake" / "bench" / "main" / "vectors"
    texts = [f"Owl {number} hunts {number % 97} mice in field {number % 1009} at night." for number in range(DOCUMENTS)]
    rows = pa.table({"id": [f"{number:07}" for number in range(DOCUMENTS)], "text": texts})
    write_deltalake(source, rows, configuration={"delta.enableChangeDataFeed": "true"})
    out = folder / "out"
    # In files, so that no pipe runs full; they tell when a refresh ended.
    with out.open("w") as told, (folder / "err").open("w") as faults:
        command = [sys.executable, "-c", "from spark_jobs.cli import main; main()", "follow", "--config"]
        follower = subprocess.Popen([*command, str(_settings(folder))], stdout=told, stderr=faults)
        try:
            began = time.perf_counter()
            _wait_for(lambda: _lines(out) >= 1, follower)
            outcome.measured(first_load_seconds=time.perf_counter() - began)
            seconds = [_change_one(source, vectors, out, follower, number) for number in range(_WARM_UP + _CHANGES)]
        finally:
            follower.terminate()
            follower.wait()
    searchable = [one["searchable"] for one in seconds]
    warm = searchable[_WARM_UP:]
    outcome.measured(seconds_until_searchable=" · ".join(f"{one:.1f}" for one in searchable))
    outcome.measured(seconds_until_the_run_ended=" · ".join(f"{one['ended']:.1f}" for one in seconds))
    outcome.measured(median_seconds_until_searchable_once_warm=median(warm))
    outcome.at_most(f"one of {DOCUMENTS:,} documents, commit to searchable, slowest once warm, seconds", max(warm), 15)
    shutil.rmtree(folder)


def _settings(folder: Path) -> Path:
    values = {
        "library": "bench",
        "store": {"path": str(folder / "lake")},
        "source": {"format": "delta", "path": str(folder / "source"), "id_column": "id", "text_columns": ["text"]},
        "model": {"path": "fake:384"},
        "follow": {"poll_seconds": 1},
        "spark": {"master": "local[2]"},
    }
    path = folder / "settings.yaml"
    path.write_text(json.dumps(values))
    return path


def _change_one(source: Path, vectors: Path, out: Path, follower: Any, number: int) -> dict[str, float]:
    """Commits a new text of one document; returns the seconds until a reader of the vectors finds it, and its end."""
    text, before = f"Bees of change {number} make honey.", _lines(out)
    table = DeltaTable(source)
    table.update(updates={"text": f"'{text}'"}, predicate=f"id = '{number * 9973 % DOCUMENTS:07}'")
    committed = time.perf_counter()
    _wait_for(lambda: _has(vectors, text), follower)
    searchable = time.perf_counter() - committed
    # The next change must not come into this run.
    _wait_for(lambda: _lines(out) > before, follower)
    return {"searchable": searchable, "ended": time.perf_counter() - committed}


_versions: dict[Path, int] = {}


def _has(vectors: Path, text: str) -> bool:
    """Whether a text is among the vectors; they are read only once there is a new version, to leave the cores alone."""
    table = DeltaTable(vectors)
    if _versions.get(vectors) == table.version():
        return False
    _versions[vectors] = table.version()
    rows = QueryBuilder().register("t", table).execute(f"select embedding from t where text = '{text}'").read_all()
    return len(pa.table(rows)) == 1


def _lines(path: Path) -> int:
    return path.read_text().count("\n")


def _wait_for(condition: Callable[[], bool], follower: Any) -> None:
    end = time.monotonic() + _MOST_SECONDS
    while not condition():
        if follower.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the follower ended, or took too long")
        time.sleep(0.1)
