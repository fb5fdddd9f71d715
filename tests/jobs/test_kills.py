"""Processes that are killed, stopped, started twice, or told to end: nothing is lost and nothing is done twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from sysconfig import get_path
from typing import Any

import pytest
from deltalake import DeltaTable

from tests.support.refresh.crashes import Rig, points

pytestmark = pytest.mark.jobs

COMMAND = [str(Path(get_path("scripts")) / "embedlake")]
Process = subprocess.Popen[str]
Row = dict[str, Any]


@pytest.fixture
def spawn(environment: dict[str, str], tmp_path: Path) -> Callable[..., Process]:
    """Starts the installed command and does not wait for it."""

    def start(settings: Path, *options: str, **variables: str) -> Process:
        return subprocess.Popen(
            [*COMMAND, "embed", "--config", str(settings), *options],
            env={**environment, **variables},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def documents(count: int, word: str) -> list[Row]:
    return [{"id": f"d{number:03}", "text": f"{word} {number}."} for number in range(count)]


def wait_for(condition: Callable[[], bool], process: Process, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def is_stopped(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def events(lake: Path, query: Callable[..., list[Row]]) -> list[tuple[int, str]]:
    rows = query(lake / "_embedlake" / "runs", "select run_number, event from t order by run_number, event_time")
    return [(row["run_number"], row["event"]) for row in rows]


@pytest.mark.timeout(900)
def test_killed_runs_are_made_good_by_the_next(
    environment: dict[str, str], small: dict[str, str], tmp_path: Path
) -> None:
    seed = 7
    rig = Rig(tmp_path, COMMAND, environment, {**small, "spark.sql.warehouse.dir": str(tmp_path / "warehouse")}, seed)
    rig.prepare()
    rounds = [rig.round(f"round{number}", point) for number, point in enumerate(points(3, seed))]
    print(f"seed {seed}: {rounds}")
    assert [result["faults"] for result in rounds] == [[], [], []]
    assert all(result["killed"] for result in rounds)


def test_of_two_processes_that_start_together_one_works(
    spawn: Callable[..., Process],
    write_json: Callable[..., Path],
    write_settings: Callable[..., Path],
    query: Callable[..., list[Row]],
    tmp_path: Path,
) -> None:
    settings = write_settings(write_json(documents(40, "Owls")))
    both = [spawn(settings), spawn(settings)]
    ends = [process.communicate(timeout=250) for process in both]
    assert sorted(process.returncode for process in both) == [0, 4], ends
    (refused,) = [err for process, (_, err) in zip(both, ends, strict=True) if process.returncode == 4]
    assert "--take-over" in refused
    assert "Traceback" not in refused
    lake = tmp_path / "lake"
    assert query(lake / "toy/main/vectors", "select count(*) as n, count(distinct doc_id) as d from t") == [
        {"n": 40, "d": 40}
    ]
    assert [event for event in events(lake, query) if event[1] in ("started", "finished")] == [
        (1, "started"),
        (1, "finished"),
    ]


def test_a_stopped_run_that_wakes_after_a_newer_one_writes_nothing(
    spawn: Callable[..., Process],
    write_json: Callable[..., Path],
    write_settings: Callable[..., Path],
    query: Callable[..., list[Row]],
    tmp_path: Path,
) -> None:
    settings = write_settings(write_json(documents(6, "Owls")))
    # At the very commit: it has asked whether it is still alone, and been told so.
    sleeper = spawn(settings, TEST_FAILPOINT="vectors.before:1:stop")
    wait_for(lambda: is_stopped(sleeper), sleeper)
    write_json(documents(4, "Bees"))
    newer = spawn(settings, "--take-over")
    _, told = newer.communicate(timeout=250)
    assert newer.returncode == 0, told
    tables = [tmp_path / "lake" / "toy" / "main" / name for name in ("vectors", "ledger")]
    before = [DeltaTable(table).version() for table in tables]
    os.kill(sleeper.pid, signal.SIGCONT)
    _, told = sleeper.communicate(timeout=250)
    assert sleeper.returncode == 4, told
    assert "has taken over from toy.main.1" in told
    assert [DeltaTable(table).version() for table in tables] == before
    assert {row["text"] for row in query(tables[0], "select text from t")} == {f"Bees {n}." for n in range(4)}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_in_order_and_the_next_goes_on(
    number: signal.Signals,
    code: int,
    spawn: Callable[..., Process],
    write_json: Callable[..., Path],
    write_settings: Callable[..., Path],
    query: Callable[..., list[Row]],
    tmp_path: Path,
) -> None:
    settings = write_settings(write_json(documents(30, "Owls")), run={"slice_tokens": 60})
    lake = tmp_path / "lake"
    process = spawn(settings)
    ledger = lake / "toy" / "main" / "ledger"
    # Version 1 is the first slice's.
    wait_for((ledger / "_delta_log" / f"{1:020}.json").exists, process)
    start = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    took = time.monotonic() - start
    assert process.returncode == code, told
    assert took < 15
    assert "run the same command again to go on" in told
    assert "Traceback" not in told, told
    assert events(lake, query)[-1] == (1, "stopped")
    done = query(ledger, "select count(*) as n from t")[0]["n"]
    again = spawn(settings, "--set", "run.slice_tokens=auto")
    out, told = again.communicate(timeout=250)
    assert again.returncode == 0, told
    assert f"{30 - done} added" in out
    assert query(lake / "toy/main/vectors", "select count(*) as n from t") == [{"n": 30}]


def test_a_second_signal_ends_at_once(
    spawn: Callable[..., Process], write_json: Callable[..., Path], write_settings: Callable[..., Path]
) -> None:
    process = spawn(write_settings(write_json(documents(3, "Owls"))), TEST_FAILPOINT="vectors.before:1:sleep")
    lines: list[str] = []
    for line in process.stderr or ():
        lines.append(line)
        if "merge vectors" in line:
            break
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode in (-signal.SIGTERM, 143), lines


def test_the_failpoints_are_inert_without_their_variable() -> None:
    code = "from spark_jobs.store.failpoints import failpoint; failpoint('vectors.before'); print('on')"
    environment = {name: value for name, value in os.environ.items() if name != "TEST_FAILPOINT"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "on\n"
    killed = subprocess.run(
        [sys.executable, "-c", code], env={**environment, "TEST_FAILPOINT": "vectors.before:1:kill"}
    )
    assert killed.returncode == -signal.SIGKILL
