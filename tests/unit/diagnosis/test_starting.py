"""Java, masters and sessions that do not come, each in a limited time."""

import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyspark import SparkContext

from schemas.errors import InputError
from spark_jobs.diagnosis.executors import wait_for_executors
from spark_jobs.diagnosis.limits import TooLongError, within, within_or
from spark_jobs.diagnosis.starting import (
    Java,
    find_java_version,
    is_remote,
    judge_java,
    start_session,
)
from spark_jobs.settings import Settings
from tests.support.template import settings_of


@pytest.fixture
def java_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path.joinpath("bin").mkdir()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    return tmp_path


def put_java(home: Path, script: str) -> None:
    java = home / "bin" / "java"
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)


@pytest.mark.parametrize(
    ("line", "version", "level"),
    [
        ('openjdk version "17.0.15" 2025-04-15', "17.0.15", "ok"),
        ('java version "1.8.0_412"', "1.8.0_412", "fault"),
        ('openjdk version "11.0.2" 2019-01-15', "11.0.2", "fault"),
        ('openjdk version "21-ea" 2023-09-19', "21-ea", "ok"),
    ],
)
def test_java_says_its_version(java_home: Path, line: str, version: str, level: str) -> None:
    put_java(java_home, f"echo '{line}' >&2")
    found = find_java_version()
    assert (found.version, judge_java(found).level) == (version, level)


def test_a_java_that_does_not_run(java_home: Path) -> None:
    put_java(java_home, "exit 3")
    found = judge_java(find_java_version())
    assert found.level == "fault" and "does not run" in found.cause and "Install Java 17" in found.remedy


def test_a_java_that_is_not_there(java_home: Path) -> None:
    found = judge_java(find_java_version())
    assert found.level == "fault" and "does not exist." in found.cause and found.remedy == "Correct or unset it."


@pytest.fixture
def closed() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path, "source.jsonl")


SOUND = Java("java", "17.0.1")


def never() -> None:
    raise AssertionError("no session was to be started")


def test_no_session_is_started_without_java_or_master(settings: Settings, closed: int, tmp_path: Path) -> None:
    begun = start_session(settings, never, Java(cause="there is none. Install it."), 5)  # type: ignore[arg-type]
    assert (begun.spark, begun.cause) == (None, "no session can start without Java")
    away = settings_of(tmp_path, "source.jsonl", spark={"master": f"spark://127.0.0.1:{closed}"})
    begun = start_session(away, never, SOUND, 5)  # type: ignore[arg-type]
    assert begun.cause == f"nothing answers at the master 127.0.0.1:{closed}" and begun.remedy


def test_a_session_of_connect_needs_no_java_here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_remote(settings)
    monkeypatch.setenv("SPARK_REMOTE", "sc://localhost:1")
    assert is_remote(settings)

    def fail() -> None:
        raise InputError("nothing answers. Start it.")

    begun = start_session(settings, fail, None, 5)  # type: ignore[arg-type]
    assert (begun.cause, begun.remedy) == ("nothing answers", "Start it.")


def test_a_start_that_hangs_is_given_up_and_the_terminal_is_given_back(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    turned, end = os.open(os.devnull, os.O_WRONLY), threading.Event()

    def hang() -> None:
        os.dup2(turned, 1)
        end.wait(60)

    begun = start_session(settings, hang, SOUND, 0.2)  # type: ignore[arg-type]
    os.write(1, b"seen")
    end.set()
    os.close(turned)
    assert begun.cause == "no session has started within 0.2 s"
    assert capfd.readouterr().out == "seen"


@pytest.mark.parametrize("lived", [True, False])
def test_only_a_java_that_the_start_itself_began_is_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, lived: bool
) -> None:
    end = threading.Event()
    with subprocess.Popen(["sleep", "60"]) as process:
        gateway = SimpleNamespace(proc=process)
        monkeypatch.setattr(SparkContext, "_gateway", gateway if lived else None)

        def hang() -> None:
            SparkContext._gateway = gateway  # type: ignore[assignment]
            end.wait(60)

        begun = start_session(settings, hang, SOUND, 0.2)  # type: ignore[arg-type]
        end.set()
        assert begun.cause == "no session has started within 0.2 s"
        assert (process.poll() is None) is lived
        process.kill()


def test_a_refusal_keeps_its_remedy(settings: Settings) -> None:
    def refuse() -> None:
        raise InputError("Delta is not installed. Run: pip install x")

    begun = start_session(settings, refuse, SOUND, 5)  # type: ignore[arg-type]
    assert (begun.cause, begun.remedy) == ("Delta is not installed", "Run: pip install x")


def test_an_error_of_others_is_not_quoted(settings: Settings) -> None:
    def fail() -> None:
        raise ValueError("secret")

    begun = start_session(settings, fail, SOUND, 5)  # type: ignore[arg-type]
    assert begun.cause == "ValueError" and "--debug" in begun.remedy


def test_work_is_waited_for_only_so_long() -> None:
    assert within(5, lambda: 1) == 1
    with pytest.raises(TooLongError):
        within(0.05, lambda: time.sleep(2))
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"])
    assert within_or(0.05, lambda: time.sleep(2), "late") == "late"  # type: ignore[type-var]


def test_executors_are_waited_for_until_no_more_come() -> None:
    looks = iter([[], ["0"], ["0"], ["0", "1"], ["0", "1"], *[["0", "1"]] * 1000])
    assert wait_for_executors(lambda: next(looks), 10, settled=0.2, poll=0.01) == ["0", "1"]
    begun = time.monotonic()
    assert wait_for_executors(list, 0.2, settled=0.1, poll=0.01) == []
    assert time.monotonic() - begun < 5
