"""How Spark assigns GPUs, on a small cluster on this machine with a discovery script that reports an invented GPU."""

import itertools
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Command, Completed
from tests.support.small_tables import FIRST_COMPILER

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(900)]

PROPERTIES = {
    "spark.worker.resource.gpu.amount": "1",
    "spark.executor.resource.gpu.amount": "1",
    # Small enough that other stages use every core.
    "spark.task.resource.gpu.amount": "0.01",
    "spark.executor.cores": "2",
    "spark.executor.memory": "1g",
    "spark.executor.extraJavaOptions": FIRST_COMPILER,
}


# Worth its seconds: only a cluster with separate executors assigns GPUs.
def test_each_inference_task_has_a_gpu_of_its_own(
    command: Command,
    embedlake: Callable[..., Completed],
    write_json: Callable[..., Path],
    write_settings: Callable[..., Path],
    small: dict[str, str],
    query: Callable[..., list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    script = tmp_path / "discover.sh"
    script.write_text('#!/bin/sh\necho \'{"name": "gpu", "addresses": ["7"]}\'\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    scripts = {f"spark.{who}.resource.gpu.discoveryScript": str(script) for who in ("worker", "executor")}
    empty = {"id": "empty", "text": ""}
    source = write_json([empty])
    # The tables are created in the live session, because a cluster that has just started takes much longer.
    command.embed(write_settings(source))
    write_json([empty, *({"id": str(number), "text": f"Text {number}."} for number in range(20))])
    config = write_settings(
        source,
        spark={"master": "local-cluster[1,2,1024]", "properties": {**small, **PROPERTIES, **scripts}},
    )
    done = embedlake("embed", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "cuda:7 float32" in done.stdout
    runs = tmp_path / "lake" / "_embedlake" / "runs"
    (row,) = query(runs, "SELECT inference FROM t WHERE event = 'finished' AND run_number = 2")
    assert row["inference"]["device"] == "cuda:7"
    assert query(tmp_path / "lake" / "toy" / "main" / "vectors", "SELECT count(*) AS n FROM t") == [{"n": 20}]


# Worth its seconds: what a device and the model on it cost is wasted, or shared, where this does not hold.
def test_two_workers_have_a_device_each_and_a_device_has_one_model_and_one_task_at_a_time(
    root: Path, tmp_path: Path
) -> None:
    script = tmp_path / "discover.sh"
    # The first worker that asks gets one address, the other one the next.
    script.write_text(
        f'#!/bin/sh\nif mkdir "{tmp_path}/first" 2>/dev/null; then address=3; else address=5; fi\n'
        'echo "{\\"name\\": \\"gpu\\", \\"addresses\\": [\\"$address\\"]}"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    command = [sys.executable, str(root / "tests" / "jobs" / "gpu_tasks.py"), str(script)]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    tasks = json.loads(done.stdout)
    assert len(tasks) == 8
    assert {(task["addresses"], task["device"]) for task in tasks} == {("3", "cuda:3"), ("5", "cuda:5")}
    for device in ("cuda:3", "cuda:5"):
        own = sorted((task["began"], task["ended"]) for task in tasks if task["device"] == device)
        assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(own))
        assert len({task["model"] for task in tasks if task["device"] == device}) == 1


def test_the_discovery_script_counts_what_is_visible(root: Path) -> None:
    command = ["sh", str(root / "conf" / "discover_gpus.sh")]
    for visible, expected in (("2,5", ["0", "1"]), ("NoDevFiles", []), ("", [])):
        variables = {"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": visible}
        found = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        assert json.loads(found.stdout) == {"name": "gpu", "addresses": expected}
