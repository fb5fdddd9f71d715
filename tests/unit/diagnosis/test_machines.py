"""From the probe's answer to facts; and how far two clocks differ."""

import json
from pathlib import Path

import pytest

from spark_jobs.diagnosis.machines import (
    HERE,
    Disk,
    driver_machine,
    machine_of,
    needed_packages,
    request_of,
    seconds_ahead,
)
from tests.support.template import settings_of

FACTS = {
    "started": 1000.0,
    "ended": 1001.0,
    "python": [3, 11, 7],
    "executable": "/usr/bin/python3",
    "modules": {"udfs": "0.1.0", "torch": None},
    "model": {"found": True, "files": {"config.json": "a1"}},
    "gpus": {"names": ["H100"], "cuda": [12, 8], "amd": False},
    "torch_cuda": "12.8",
    "cores": 4,
    "half_precision": ["amx_tile"],
    "memory": 123,
    "threads": None,
    "disks": [{"folder": "/tmp", "free": 1, "writable": True}],
    "store_seen": None,
    "host": "one",
    "executor": "3",
    "java": 77,
    "executor_cores": 2,
}
PACKAGES = {"udfs": "embedlake", "torch": "torch"}


def test_an_answer_becomes_facts() -> None:
    found = machine_of(FACTS, PACKAGES, None, (1000.0, 1002.0))
    assert (found.place, found.host, found.failed) == ("executor 3 on one", "one", None)
    assert found.packages == {"embedlake": "0.1.0", "torch": None}
    assert (found.python, found.cuda, found.gpus) == ((3, 11, 7), (12, 8), ["H100"])
    assert (found.has_model, found.model_files) == (True, {"config.json": "a1"})
    assert found.disks == [Disk("/tmp", 1, True)]
    assert found.seconds_ahead == 0


def test_what_could_not_be_found_out_is_not_made_up() -> None:
    found = machine_of({**FACTS, "gpus": None, "model": None, "executor": None}, PACKAGES, None, None)
    assert (found.place, found.gpus, found.cuda, found.has_model) == ("the executor on one", [], None, None)


def test_a_python_that_failed_leaves_a_code_and_a_name() -> None:
    found = machine_of({"failed": 127, "java": 5, "executor": "1", "host": "two"}, PACKAGES, None, (0.0, 1.0))
    assert (found.place, found.failed) == ("executor 1 on two", 127)


@pytest.mark.parametrize(
    ("started", "ended", "expected"),
    [
        (1000.0, 1001.0, 0.0),  # exactly within
        (1003.5, 1004.0, 0.0),
        (1003.5, 1004.5, 0.5),  # ended after the answer was there
        (999.0, 1000.0, -1.0),  # began before it was asked
        (4600.0, 4601.0, 597.0 + 3000.0),
        (-2600.0, -2599.0, -3600.0),
    ],
)
def test_clocks_differ_only_where_the_order_of_events_shows_it(started: float, ended: float, expected: float) -> None:
    assert seconds_ahead(started, ended, 1000.0, 1004.0) == expected


def test_a_stand_in_needs_neither_torch_nor_files(tmp_path: Path) -> None:
    fake = settings_of(tmp_path, "source.jsonl")
    real = settings_of(tmp_path, "source.jsonl", model={"path": "owner/name", "revision": "c0ffee"})
    assert "torch" not in needed_packages(fake) and "torch" in needed_packages(real)
    assert json.loads(request_of(fake))["model"] is None
    assert json.loads(request_of(real))["model"] == {"path": "owner/name", "revision": "c0ffee"}
    assert "\n" not in request_of(real, "/a", "/b", ["c"])


def test_the_driver_s_machine_is_looked_at_in_a_process_of_its_own(tmp_path: Path) -> None:
    found = driver_machine(settings_of(tmp_path, "source.jsonl"))
    assert (found.place, found.failed) == (HERE, None)
    assert found.packages["embedlake"] and found.packages["pyarrow"]
