"""Kills processes at commits, goes on with what they did and compares.

`make crash ROUNDS=100 SEED=1` kills runs, `make crash-spaces ROUNDS=100 SEED=1` promotions, rollbacks, removals and
exports. What dies is a process of its own; what goes on after it is done in this process, whose session stays warm.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from pyspark.sql import Row, SparkSession

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from spark_jobs import drop_space, export_library, promote_space, rollback_space  # noqa: E402
from spark_jobs.embed_library import run  # noqa: E402
from spark_jobs.runtime.session import get_session  # noqa: E402
from spark_jobs.settings import Settings, load_settings  # noqa: E402
from spark_jobs.settings.sections import SparkSettings  # noqa: E402
from spark_jobs.store import read_vectors  # noqa: E402
from tests.support.refresh.crashes import Rig, clean_environment, points  # noqa: E402
from tests.support.refresh.space_crashes import SpaceRig, kills  # noqa: E402
from tests.support.small_tables import LONG_LIVED, SHORT_LIVED  # noqa: E402


def crash(rounds: int, seed: int, jobs: int, properties: dict[str, str], spaces: bool) -> Iterator[dict[str, Any]]:
    """Runs the rounds, several at a time, each on a store of its own; gives each result as soon as it is there."""
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    command = [sys.executable, "-c", "from spark_jobs.cli import main; main()"]
    environment = {**clean_environment(), "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    own = {**SHORT_LIVED, **properties}
    # The session that goes on.
    warm = {**LONG_LIVED, **properties}
    warehouse = {"spark.sql.warehouse.dir": str(folder / "warehouse")}
    spark = get_session(SparkSettings(master="local[2]", properties={**warm, **warehouse}), quiet=True)
    drawn: list[Callable[[str], dict[str, Any]]]
    if spaces:
        space_rig = SpaceRig(folder, command, environment, own, partial(do, spark), partial(read, spark))
        space_rig.prepare()
        drawn = [partial(space_rig.round, verb=verb, point=point) for verb, point in kills(rounds, seed)]
    else:
        rig = Rig(folder, command, environment, own, seed, lambda path: run(spark.newSession(), load_settings(path)))
        rig.prepare()
        drawn = [partial(rig.round, point=point) for point in points(rounds, seed)]
    try:
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(round_, f"round{number}") for number, round_ in enumerate(drawn)]
            for future in as_completed(futures):
                yield future.result()
    finally:
        shutil.rmtree(folder)


def do(spark: SparkSession, verb: str, settings: Settings, options: list[str]) -> object:
    """Does what a command with these options does, in the live session."""
    session, (name, *_) = spark.newSession(), [*options[1:], ""]
    if verb == "promote":
        return promote_space.run(session, settings, name)
    if verb == "rollback":
        return rollback_space.run(session, settings)
    if verb == "drop":
        return drop_space.run(session, settings, name)
    return export_library.run(session, settings, name) if verb == "export" else run(session, settings)


def read(spark: SparkSession, settings: Settings) -> list[Row]:
    """Reads the rows of the active space."""
    return read_vectors(spark.newSession(), settings).collect()


def write(path: Path, summary: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Writes the result file, a line for each round."""
    lines = ",\n".join("  " + json.dumps(result) for result in results)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=1)[:-2] + f',\n "results": [\n{lines}\n ]\n}}\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=1, help="rounds at a time")
    parser.add_argument("--spaces", action="store_true", help="kill promotions, rollbacks, removals and exports")
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE", help="Spark property")
    parser.add_argument("--out", type=Path, required=True, help="result file, brought up to date after every round")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}: the same seed draws the same library and the same failpoints", flush=True)
    start = time.time()
    given = dict(pair.split("=", 1) for pair in arguments.property)
    results: list[dict[str, Any]] = []
    for result in crash(arguments.rounds, arguments.seed, arguments.jobs, given, arguments.spaces):
        results.append(result)
        summary = {
            "rounds": len(results),
            "killed": sum(result["killed"] for result in results),
            "with_faults": sum(bool(result["faults"]) for result in results),
            "seed": arguments.seed,
            "jobs": arguments.jobs,
            "minutes": round((time.time() - start) / 60, 1),
            "machine": f"{os.cpu_count()} processors, {platform.platform()}, Python {platform.python_version()}",
        }
        write(arguments.out, summary, results)
        print(json.dumps(result), flush=True)
    raise SystemExit(1 if summary["with_faults"] else 0)


if __name__ == "__main__":
    main()
