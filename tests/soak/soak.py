"""Random refreshes, crashes and take-overs against the oracle: `make soak RUNS=500 SEED=1`."""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.small_tables import LONG_LIVED  # noqa: E402

RUNS_OF_A_STORE = 50


def session(properties: dict[str, str]) -> Any:
    """Finds or starts this process's session."""
    from spark_jobs.runtime.session import get_session
    from spark_jobs.settings.sections import SparkSettings

    own = {**LONG_LIVED, "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir(), "soak-warehouse")), **properties}
    return get_session(SparkSettings(master="local[2]", properties=own), quiet=True)


def soak(runs: int, seed: int, properties: dict[str, str]) -> dict[str, Any]:
    """Drives one store through a number of runs; every store has a seed of its own."""
    from tests.support.refresh.machine import Machine

    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    machine = Machine(session(properties), folder, seed)
    try:
        drive(machine, runs)
    except Exception:  # whatever it is, the other stores go on and this one's story is told
        machine.faults.append(f"seed {seed}, run {machine.runs}: {traceback.format_exc()[-1500:]}")
    shutil.rmtree(folder)
    return {
        "seed": seed,
        "runs": machine.runs,
        "edits": machine.library.edits,
        "reached": dict(machine.reached),
        "faults": machine.faults,
        "story": machine.story[-8:] if machine.faults else [],
    }


def drive(machine: Any, runs: int) -> None:
    """Edits and runs by chance until the runs are made or a fault is found."""
    from tests.support.refresh.machine import FAILPOINTS, FIRST

    overtaking = [point for point in FAILPOINTS if not point[0].startswith("runs")]
    machine.change(150)
    for point in machine.random.sample(FIRST, 2):
        machine.crash(point)
    machine.succeed()
    while machine.runs < runs and not machine.faults:
        machine.change(machine.random.randrange(1, 240))
        draw = machine.random.random()
        if draw < 0.5:
            machine.crash(machine.random.choice(FAILPOINTS))
        elif draw < 0.6:
            machine.overtake(machine.random.choice(overtaking))
        elif draw < 0.9:
            machine.succeed(retry_quarantined=draw < 0.65)
        elif machine.settled:
            machine.again()
    if not machine.faults:
        machine.succeed()


def summary_of(results: list[dict[str, Any]], minutes: float, jobs: int) -> dict[str, Any]:
    """Adds the stores up."""
    reached: Counter[str] = Counter()
    for result in results:
        reached.update(result["reached"])
    return {
        "runs": sum(result["runs"] for result in results),
        "edits": sum(result["edits"] for result in results),
        "stores": len(results),
        "faults": [fault for result in results for fault in result["faults"]],
        "stories": [result["story"] for result in results if result["faults"]],
        "crashes_and_take_overs": dict(sorted(reached.items())),
        "seeds": sorted(result["seed"] for result in results),
        "minutes": round(minutes, 1),
        "jobs": jobs,
        "machine": f"{os.cpu_count()} processors, {platform.platform()}, Python {platform.python_version()}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=1, help="stores at a time, each in a process of its own")
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE", help="Spark property")
    parser.add_argument("--out", type=Path, required=True, help="result file, brought up to date after every store")
    arguments = parser.parse_args()
    print(f"seeds from {arguments.seed} on: the same seed makes the same edits and crashes", flush=True)
    start, stores = time.time(), -(-arguments.runs // RUNS_OF_A_STORE)
    given = dict(pair.split("=", 1) for pair in arguments.property)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        share = -(-arguments.runs // stores)
        futures = [pool.submit(soak, share, arguments.seed + number, given) for number in range(stores)]
        for future in as_completed(futures):
            results.append(future.result())
            summary = summary_of(results, (time.time() - start) / 60, arguments.jobs)
            arguments.out.write_text(json.dumps(summary, indent=1) + "\n")
            print(f"{summary['runs']} runs, {summary['minutes']} minutes, faults: {summary['faults']}", flush=True)
    raise SystemExit(1 if summary["faults"] else 0)


if __name__ == "__main__":
    main()
