"""A follower as a process: beside another follower and a run by hand, and ended by a signal."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from sysconfig import get_path
from typing import IO, Any

import pytest
from pyspark.sql import SparkSession

from schemas.errors import RunActiveError
from spark_jobs.embedding.following import Failed, Refreshed, Waiting
from spark_jobs.follow_library import run
from spark_jobs.settings import load_settings
from tests.support.command import NOISE, Command

pytestmark = pytest.mark.jobs

COMMAND = Path(get_path("scripts")) / "embedlake"
Process = subprocess.Popen[str]


@pytest.fixture
def started(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts a follower whose streams go to the files `out` and `err`; it does not outlive the test."""
    followers: list[Process] = []
    files: list[IO[str]] = []

    def start(settings: Path, **variables: str) -> Process:
        streams = [(tmp_path / name).open("w") for name in ("out", "err")]
        files.extend(streams)
        arguments = [COMMAND, "follow", "--config", settings, "--set", "follow.poll_seconds=0.5"]
        follower = subprocess.Popen(
            [str(argument) for argument in arguments],
            env={**environment, **variables},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=streams[0],
            stderr=streams[1],
            text=True,
        )
        followers.append(follower)
        return follower

    yield start
    for follower in followers:
        follower.kill()
        follower.wait()
    for file in files:
        file.close()


def wait_for(condition: Callable[[], bool], follower: Process, told: Path, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert follower.poll() is None, told.read_text()
        assert time.monotonic() < end, told.read_text()
        time.sleep(0.1)


def is_stopped(follower: Process) -> bool:
    return Path(f"/proc/{follower.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


# Worth its time: only two processes can hold a lock from each other, and only a whole one can be ended by a signal.
@pytest.mark.timeout(900)
def test_a_follower_meets_another_one_and_a_run_by_hand_and_ends_in_order(
    spark: SparkSession,
    command: Command,
    started: Callable[..., Process],
    write_json: Callable[..., Path],
    write_settings: Callable[..., Path],
    query: Callable[[Path, str], list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    documents = [{"id": "a", "text": "Owls."}]
    settings = write_settings(write_json(documents))
    command.embed(settings)
    # It stands still right at its first commit, which is that of the change below: the first look finds none.
    follower = started(settings, TEST_FAILPOINT="vectors.before:1:stop")
    out, err = tmp_path / "out", tmp_path / "err"

    def lines() -> list[str]:
        return [line.partition(" ")[2] for line in out.read_text().splitlines()]

    wait_for(lambda: len(lines()) == 1, follower, err)
    write_json([*documents, {"id": "b", "text": "Bees."}])
    wait_for(lambda: is_stopped(follower), follower, err)
    seen: list[Refreshed | Failed] = []

    def show(event: Refreshed | Failed | Waiting) -> None:
        if not isinstance(event, Waiting):
            seen.append(event)

    def wait(_: float) -> None:
        if len(seen) == 1:
            os.kill(follower.pid, signal.SIGCONT)
            wait_for(lambda: len(lines()) == 2, follower, err)
        elif len(seen) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(spark, {"second": load_settings(settings, ["follow.poll_seconds=0.001"])}, show_event=show, wait=wait)
    first, second = seen
    assert isinstance(first, Failed) and isinstance(first.error, RunActiveError)
    assert isinstance(second, Refreshed) and second.report.counts["added"] == 0

    write_json([*documents, {"id": "b", "text": "Bees."}, {"id": "c", "text": "Ants."}])
    # Whoever comes first embeds it. The other one is refused, or finds nothing to do.
    by_hand = command("embed", "--config", settings)
    assert by_hand.returncode in (0, 4), by_hand.stderr
    wait_for(lambda: len(lines()) >= 3, follower, err)
    assert {row["text"] for row in query(tmp_path / "lake/toy/main/vectors", "select text from t")} == {
        *("Owls.", "Bees.", "Ants.")
    }
    time.sleep(1)
    begun = time.monotonic()
    follower.send_signal(signal.SIGTERM)
    assert follower.wait(60) == 143
    assert time.monotonic() - begun < 15
    kinds = [line.partition(" · ")[0] for line in lines()]
    assert kinds[:2] == ["toy.main: nothing changed", "toy.main: 1 added"]
    told = err.read_text()
    assert told.endswith("embedlake: stopped. What was committed stays. Run the same command again to continue.\n")
    assert "Traceback" not in told and not NOISE.search(told), told
