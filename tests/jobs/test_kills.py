"""Processes that are killed, stopped, started twice, or asked to end: nothing is lost and nothing is done twice.

A run that must die, stop or meet another run has its own process. The runs before and after it use the live session,
because creating the tables of a store takes a cold process as long as everything else together.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from sysconfig import get_path
from typing import Any

import pytest
from deltalake import DeltaTable

from tests.support.command import NOISE, Command
from tests.support.refresh.crashes import Rig

pytestmark = pytest.mark.jobs

COMMAND = [str(Path(get_path("scripts")) / "embedlake")]
Process = subprocess.Popen[str]
Row = dict[str, Any]


@pytest.fixture
def spawn(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts the installed command without waiting for it; none outlives the test."""
    started: list[Process] = []

    def start(settings: Path, *options: str, **variables: str) -> Process:
        process = subprocess.Popen(
            [*COMMAND, "embed", "--config", str(settings), *options],
            env={**environment, **variables},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def documents(count: int, word: str) -> list[Row]:
    return [{"id": f"d{number:03}", "text": f"{word} {number}."} for number in range(count)]


EMPTY = {"id": "empty", "text": ""}


@pytest.fixture
def begun(command: Command, write_json: Callable[..., Path], write_settings: Callable[..., Path]) -> Path:
    """Settings of a store after a first run with one document without text."""
    settings = write_settings(write_json([EMPTY]))
    command.embed(settings)
    return settings


def wait_for(condition: Callable[[], bool], process: Process, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.1)


def is_stopped(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def events(lake: Path, query: Callable[..., list[Row]]) -> list[tuple[int, str]]:
    rows = query(lake / "_embedlake" / "runs", "select run_number, event from t order by run_number, event_time")
    return [(row["run_number"], row["event"]) for row in rows]


# Worth its seconds: only a real SIGKILL shows that no handler, lock file or buffer of the dying process is needed. It
# comes between the two commits that must agree. The tests of the refresh model cover the other failpoints with crashes
# within the process, and `make crash` kills at all of them.
@pytest.mark.timeout(900)
def test_the_next_run_repairs_what_a_killed_run_left(
    command: Command, environment: dict[str, str], small: dict[str, str], tmp_path: Path
) -> None:
    seed = 7
    properties = {**small, "spark.sql.warehouse.dir": str(tmp_path / "warehouse")}
    rig = Rig(tmp_path, COMMAND, environment, properties, seed, command.embed, edits=40)
    rig.prepare()
    found = rig.round("round", ("vectors.after", 1))
    assert (found["killed"], found["faults"]) == (True, []), f"seed {seed}: {found}"


# Worth its seconds: a whole process, including Java, must freeze at its commit, keep others out, and wake up after
# another run. Neither a lock between two processes nor a frozen one can be tested in one process.
def test_a_stopped_run_keeps_others_out_and_writes_nothing_after_one_that_takes_over(
    begun: Path,
    command: Command,
    spawn: Callable[..., Process],
    write_json: Callable[..., Path],
    query: Callable[..., list[Row]],
    tmp_path: Path,
) -> None:
    write_json([EMPTY, *documents(6, "Owls")])
    # It stops right at the commit, after the check that it is still the only run.
    sleeper = spawn(begun, TEST_FAILPOINT="vectors.before:1:stop")
    wait_for(lambda: is_stopped(sleeper), sleeper)
    write_json([EMPTY, *documents(4, "Bees")])
    lake = tmp_path / "lake"
    recorded = events(lake, query)
    refused = command("embed", "--config", begun)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "another process on this machine is working on space toy.main" in refused.stderr
    assert "--take-over" in refused.stderr and not NOISE.search(refused.stderr)
    assert events(lake, query) == recorded
    command.embed(begun, "--take-over")
    tables = [lake / "toy" / "main" / name for name in ("vectors", "ledger")]
    before = [DeltaTable(table).version() for table in tables]
    os.kill(sleeper.pid, signal.SIGCONT)
    _, told = sleeper.communicate(timeout=250)
    assert sleeper.returncode == 4, told
    assert "has taken over from toy.main.2" in told
    assert [DeltaTable(table).version() for table in tables] == before
    assert {row["text"] for row in query(tables[0], "select text from t")} == {f"Bees {n}." for n in range(4)}
    # The run that was refused left no event.
    assert [number for number, event in events(lake, query) if event == "started"] == [1, 2, 3]


# Worth its seconds, twice: the two signals reach Python and Java in different ways.
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_cleanly_and_the_next_run_continues(
    number: signal.Signals,
    code: int,
    begun: Path,
    command: Command,
    spawn: Callable[..., Process],
    write_json: Callable[..., Path],
    query: Callable[..., list[Row]],
    tmp_path: Path,
) -> None:
    lake = tmp_path / "lake"
    ledger = lake / "toy" / "main" / "ledger"
    first_slice = DeltaTable(ledger).version() + 1
    write_json([EMPTY, *documents(30, "Owls")])
    # Five documents per slice.
    process = spawn(begun, "--set", "run.slice_tokens=10")
    wait_for((ledger / "_delta_log" / f"{first_slice:020}.json").exists, process)
    start = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    took = time.monotonic() - start
    assert process.returncode == code, told
    assert took < 15
    assert "Run the same command again to continue" in told
    assert "Traceback" not in told, told
    assert events(lake, query)[-1] == (2, "stopped")
    done = query(ledger, "select count(*) as n from t where status = 'embedded'")[0]["n"]
    assert 0 < done < 30
    assert f"{30 - done} added" in command.embed(begun)
    assert query(lake / "toy/main/vectors", "select count(*) as n from t") == [{"n": 30}]


# A run that hangs while it ends: the exception from the first signal does not end it.
HANGS = """
import time
from spark_jobs.runtime.signals import stop_in_order
with stop_in_order():
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "at work\n"
        process.send_signal(number)
        assert process.stdout.readline() == "ending\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(number)
        # Without the second signal it would have ten seconds to end.
        assert process.wait(5) == -number
    finally:
        process.kill()
        process.communicate()


def test_failpoints_do_nothing_without_their_variable() -> None:
    code = "from spark_jobs.store.failpoints import failpoint; failpoint('vectors.before'); print('on')"
    environment = {name: value for name, value in os.environ.items() if name != "TEST_FAILPOINT"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "on\n"
    killed = subprocess.run(
        [sys.executable, "-c", code], env={**environment, "TEST_FAILPOINT": "vectors.before:1:kill"}
    )
    assert killed.returncode == -signal.SIGKILL
