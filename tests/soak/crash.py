"""Kills runs at commits, goes on with them and compares: `make crash ROUNDS=100 SEED=1`.

The run that dies is a process of its own; what goes on after it is a run in this process, whose session stays warm.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from spark_jobs.embed_library import run  # noqa: E402
from spark_jobs.session import get_session  # noqa: E402
from spark_jobs.settings import load_settings  # noqa: E402
from spark_jobs.settings_sections import SparkSettings  # noqa: E402
from tests.refresh.crashes import Rig, clean_environment, points  # noqa: E402

SMALL = {
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=512m",
}


def crash(rounds: int, seed: int, jobs: int, properties: dict[str, str]) -> list[dict[str, Any]]:
    """Runs the rounds, several at a time, each on a store of its own."""
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    command = [sys.executable, "-c", "from spark_jobs.cli import main; main()"]
    environment = {**clean_environment(), "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    own = {**SMALL, **properties}
    warehouse = {"spark.sql.warehouse.dir": str(folder / "warehouse")}
    spark = get_session(SparkSettings(master="local[2]", properties={**own, **warehouse}), quiet=True)
    rig = Rig(folder, command, environment, own, seed, lambda path: run(spark.newSession(), load_settings(path)))
    rig.prepare()
    try:
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(lambda item: rig.round(f"round{item[0]}", item[1]), enumerate(points(rounds, seed))))
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=1, help="rounds at a time")
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE", help="Spark property")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}: the same seed draws the same library and the same failpoints", flush=True)
    start = time.time()
    given = dict(pair.split("=", 1) for pair in arguments.property)
    results = crash(arguments.rounds, arguments.seed, arguments.jobs, given)
    bad = [result for result in results if result["faults"]]
    summary = {
        "rounds": len(results),
        "killed": sum(result["killed"] for result in results),
        "with_faults": len(bad),
        "seed": arguments.seed,
        "jobs": arguments.jobs,
        "minutes": round((time.time() - start) / 60, 1),
        "machine": f"{os.cpu_count()} processors, {platform.platform()}, Python {platform.python_version()}",
    }
    lines = ",\n".join("  " + json.dumps(result) for result in results)
    text = json.dumps(summary, indent=1)[:-2] + f',\n "results": [\n{lines}\n ]\n}}\n'
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)
    print(json.dumps(summary), *map(json.dumps, bad), sep="\n")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
