"""A follower through many refreshes: its memory must not grow. `make soak-follow REFRESHES=200`."""

import argparse
import gc
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

DOCUMENTS = 500
EVERY = 10
# Java compiles, fills its caches and keeps a bounded number of finished statements until then.
WARM = 40
# As little as a session of embedlake gives Java, so that what grows is seen early.
JAVA = "1g"
# Mebibytes from the end of warming up to the end. 200 refreshes that keep a kilobyte each would not show, and would not
# matter in months; one that keeps its plans or rows keeps hundreds.
MOST_GROWTH = {"python": 20.0, "java_in_use": 40.0}


class Done(Exception):
    """As many refreshes as were asked for."""


def write_source(path: Path) -> None:
    """Writes a library with a change feed, not by Spark: the follower's session does nothing but follow."""
    rows = {
        "id": [f"d{number:04}" for number in range(DOCUMENTS)],
        "text": [f"Owls hunt mouse {number}." for number in range(DOCUMENTS)],
    }
    write_deltalake(path, pa.table(rows), configuration={"delta.enableChangeDataFeed": "true"})


def change_one(path: Path, number: int) -> None:
    """Gives one document another text, in one commit."""
    table = DeltaTable(path)
    table.update(updates={"text": f"'Bees of year {number} make honey.'"}, predicate=f"id = 'd{number % DOCUMENTS:04}'")


def resident(pid: int) -> float:
    """Memory of a process in mebibytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def measure(spark: Any) -> dict[str, Any]:
    """What Python and Java hold, after both have collected their garbage."""
    gc.collect()
    java = spark._jvm.java.lang
    # What Python let go is let go by Java too only now; Spark's own cleaner works beside it.
    for _ in range(2):
        java.System.gc()
        time.sleep(0.5)
    runtime = java.Runtime.getRuntime()
    return {
        "python": round(resident(os.getpid()), 1),
        "python_objects": len(gc.get_objects()),
        "python_threads": threading.active_count(),
        "java": round(resident(spark.sparkContext._gateway.proc.pid), 1),
        "java_in_use": round((runtime.totalMemory() - runtime.freeMemory()) / 2**20, 1),
        "java_threads": java.Thread.activeCount(),
    }


def soak(refreshes: int, properties: dict[str, str]) -> list[dict[str, Any]]:
    """Follows a source that changes after each refresh; returns what was measured every so many of them."""
    from spark_jobs.embedding.following import Failed, Refreshed, Waiting
    from spark_jobs.follow_library import run
    from spark_jobs.runtime.session import get_session
    from spark_jobs.settings import as_settings

    folder = Path(tempfile.mkdtemp(prefix="follow-"))
    source = folder / "source"
    write_source(source)
    values = {
        "library": "soak",
        "store": {"path": str(folder / "lake")},
        "source": {"format": "delta", "path": str(source), "id_column": "id", "text_columns": ["text"]},
        "model": {"path": "fake:32"},
        "follow": {"poll_seconds": 0.01},
        "spark": {"master": "local[2]", "properties": {"spark.driver.memory": JAVA, **properties}},
    }
    settings = as_settings(values)
    spark = get_session(settings.spark, quiet=True)
    measured: list[dict[str, Any]] = []
    count, seconds = 0, []

    def show(event: Refreshed | Failed | Waiting) -> None:
        nonlocal count
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Waiting):
            return
        changed = event.report.counts["changed"]
        assert changed == (1 if count else 0), f"refresh {count} changed {changed} documents"
        seconds.append(event.seconds)
        if count % EVERY == 0:
            took = round(median(seconds[-EVERY:]), 2)
            measured.append({"refreshes": count, "seconds_of_a_refresh": took, **measure(spark)})
            print(json.dumps(measured[-1]), flush=True)
        if count == refreshes:
            raise Done
        count += 1
        change_one(source, count)

    with suppress(Done):
        run(spark, {"soak": settings}, show_event=show)
    shutil.rmtree(folder)
    return measured


def faults_of(measured: list[dict[str, Any]]) -> list[str]:
    """Says what grew more than it may: the end of warming up against the end, by the median of three each."""
    warm = [one for one in measured if one["refreshes"] >= WARM]
    grown = {name: median([m[name] for m in warm[-3:]]) - median([m[name] for m in warm[:3]]) for name in MOST_GROWTH}
    return [f"{name} grew by {grown[name]:.1f} MiB" for name, most in MOST_GROWTH.items() if grown[name] > most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refreshes", type=int, default=200)
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE", help="Spark property")
    parser.add_argument("--out", type=Path, required=True, help="result file")
    arguments = parser.parse_args()
    begun = time.time()
    measured = soak(arguments.refreshes, dict(pair.split("=", 1) for pair in arguments.property))
    result = {
        "refreshes": arguments.refreshes,
        "documents": DOCUMENTS,
        "faults": faults_of(measured),
        "minutes": round((time.time() - begun) / 60, 1),
        "machine": f"{os.cpu_count()} processors, {platform.platform()}, Python {platform.python_version()}",
        "mebibytes": measured,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = json.dumps(result, indent=1)
    arguments.out.write_text(lines + "\n")
    print(f"faults: {result['faults']}", flush=True)
    raise SystemExit(1 if result["faults"] else 0)


if __name__ == "__main__":
    main()
