"""Random refreshes, crashes and take-overs against the oracle: `make soak RUNS=500 SEED=1`."""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SMALL = {
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.adaptive.enabled": "false",
}


def soak(runs: int, seed: int, properties: dict[str, str]) -> dict[str, Any]:
    """Drives one store in one session through a number of runs; every store has a seed of its own."""
    from spark_jobs.session import get_session
    from spark_jobs.settings_sections import SparkSettings
    from tests.refresh.machine import FAILPOINTS, FIRST, Machine

    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    own = {**SMALL, "spark.sql.warehouse.dir": str(folder / "warehouse"), **properties}
    spark = get_session(SparkSettings(master="local[2]", properties=own), quiet=True)
    machine = Machine(spark, folder, seed)
    machine.change(150)
    for point in machine.random.sample(FIRST, 2):
        machine.crash(point)
    machine.succeed()
    later = FAILPOINTS.copy()
    while machine.runs < runs and not machine.faults:
        machine.change(machine.random.randrange(1, 240))
        draw = machine.random.random()
        if draw < 0.5:
            machine.crash(machine.random.choice(later))
        elif draw < 0.6:
            machine.overtake(machine.random.choice(later))
        elif draw < 0.9:
            machine.succeed(retry_quarantined=draw < 0.65)
        elif machine.settled:
            machine.again()
    if not machine.faults:
        machine.succeed()
    spark.stop()
    shutil.rmtree(folder)
    return {
        "seed": seed,
        "runs": machine.runs,
        "edits": machine.library.edits,
        "reached": dict(machine.reached),
        "faults": machine.faults,
        "story": machine.story[-8:] if machine.faults else [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=1, help="stores at a time, each in a process of its own")
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE", help="Spark property")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    print(f"seeds from {arguments.seed} on: the same seed makes the same edits and crashes", flush=True)
    start, jobs = time.time(), arguments.jobs
    given = dict(pair.split("=", 1) for pair in arguments.property)
    with ProcessPoolExecutor(jobs) as pool:
        share = -(-arguments.runs // jobs)
        futures = [pool.submit(soak, share, arguments.seed + number, given) for number in range(jobs)]
        results = [future.result() for future in futures]
    reached: Counter[str] = Counter()
    for result in results:
        reached.update(result["reached"])
    summary = {
        "runs": sum(result["runs"] for result in results),
        "edits": sum(result["edits"] for result in results),
        "stores": jobs,
        "faults": [fault for result in results for fault in result["faults"]],
        "stories": [result["story"] for result in results if result["faults"]],
        "crashes_and_take_overs": dict(sorted(reached.items())),
        "seeds": [result["seed"] for result in results],
        "minutes": round((time.time() - start) / 60, 1),
        "machine": f"{os.cpu_count()} processors, {platform.platform()}, Python {platform.python_version()}",
    }
    text = json.dumps(summary, indent=1) + "\n"
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)
    print(text)
    raise SystemExit(1 if summary["faults"] else 0)


if __name__ == "__main__":
    main()
