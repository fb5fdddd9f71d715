"""The script of cron: what it mails by the exit code of the command, what it writes, and what it passes on."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.exit_codes import BUSY, CAPPED, EVERY, LOOKED_AT, REPEATED
from tests.support.paths import ROOT

CRON = ROOT / "conf" / "schedules" / "cron"
SCRIPT = CRON / "embedlake-cron"
DAY = 24 * 3600


@dataclass
class Cron:
    """A folder with a stand-in for the command, and the script's logs and state."""

    folder: Path

    def start(self, code: int, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs the script as cron does, with a command that ends with a code."""
        command = self.folder / "embedlake"
        command.write_text(f'#!/bin/sh\necho "did $*"\necho "cause {code}" >&2\nexit {code}\n')
        command.chmod(0o755)
        return self.script(*(arguments or ("docs", "embed", "--config", "a b.yaml")), **variables)

    def script(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"EMBEDLAKE_LOGS": str(self.folder), "EMBEDLAKE_STATE": str(self.folder / "state")}
        return subprocess.run(
            ["sh", SCRIPT, *arguments],
            env={"PATH": f"{self.folder}:/usr/bin:/bin", **own, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def mails(self, code: int, *arguments: str) -> str:
        return self.start(code, *arguments).stdout

    @property
    def log(self) -> str:
        return (self.folder / "docs.log").read_text()


@pytest.fixture
def cron(tmp_path: Path) -> Cron:
    return Cron(tmp_path)


@pytest.mark.parametrize("code", EVERY)
def test_the_exit_code_is_passed_on_and_the_output_logged(cron: Cron, code: int) -> None:
    done = cron.start(code)
    assert done.returncode == code
    assert done.stderr == ""
    assert f"did embed --config a b.yaml\ncause {code}\n" in cron.log
    assert f"ended with exit code {code}\n" in cron.log


@pytest.mark.parametrize("code", LOOKED_AT)
def test_what_needs_somebody_is_mailed_at_once(cron: Cron, code: int) -> None:
    mail = cron.mails(code)
    assert mail.startswith("embedlake embed for docs: somebody has to look.\n")
    assert f"exit code {code}" in mail and f"cause {code}\n" in mail


@pytest.mark.parametrize("code", [0, BUSY])
def test_success_and_another_run_are_never_mailed(cron: Cron, code: int) -> None:
    assert [cron.mails(code) for _ in range(5)] == [""] * 5


@pytest.mark.parametrize("code", [*REPEATED, CAPPED, 137])
def test_what_a_repetition_may_cure_is_mailed_when_it_does_not(cron: Cron, code: int) -> None:
    assert [cron.mails(code) for _ in range(2)] == ["", ""]
    assert "3 starts in a row did not finish.\n" in cron.mails(code)


def test_a_refused_start_neither_counts_nor_ends_the_count(cron: Cron) -> None:
    assert [cron.mails(code) for code in (1, BUSY, BUSY, 143, BUSY)] == [""] * 5
    assert "3 starts in a row" in cron.mails(1)


def test_a_success_ends_the_count(cron: Cron) -> None:
    assert [cron.mails(code) for code in (1, 1, 0, 1, 1)] == [""] * 5


def test_any_other_command_than_embed_that_is_always_refused_is_mailed(cron: Cron) -> None:
    assert [cron.mails(BUSY, "docs", "maintain") for _ in range(2)] == ["", ""]
    assert "embedlake maintain for docs: 3 starts in a row did not finish.\n" in cron.mails(BUSY, "docs", "maintain")


def test_the_same_fault_is_mailed_once_a_day(cron: Cron, tmp_path: Path) -> None:
    assert cron.mails(2)
    assert not cron.mails(2)
    assert cron.mails(5), "another fault"
    assert not cron.mails(5)
    yesterday = time.time() - DAY - 60
    os.utime(tmp_path / "state" / "docs.told", (yesterday, yesterday))
    assert cron.mails(5), "a day later"
    assert not cron.mails(0)
    assert cron.mails(5), "again after it was over"


def test_names_have_counts_and_logs_of_their_own(cron: Cron, tmp_path: Path) -> None:
    assert cron.mails(2, "docs", "embed") and cron.mails(2, "wiki", "embed")
    assert (tmp_path / "wiki.log").read_text().count("did embed") == 1


def test_a_command_that_is_not_on_the_path_is_mailed(cron: Cron) -> None:
    done = cron.script("docs", "embed")
    assert done.returncode == 127
    assert "the command cannot be started. Correct PATH in the crontab.\n" in done.stdout


def test_a_folder_that_cannot_be_written_is_mailed(cron: Cron, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = cron.start(0, EMBEDLAKE_LOGS=str(tmp_path / "file"))
    assert done.returncode == 2
    assert "file/docs.log" in done.stderr


def test_without_a_command_the_usage_is_shown(cron: Cron) -> None:
    done = cron.script("docs")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: embedlake-cron NAME COMMAND [OPTION...]\n"


def test_logs_and_state_are_not_for_everybody(cron: Cron, tmp_path: Path) -> None:
    cron.start(2)
    modes = {path.name: path.stat().st_mode & 0o007 for path in (tmp_path / "docs.log", tmp_path / "state")}
    assert modes == {"docs.log": 0, "state": 0}


def test_every_line_of_the_crontab_calls_the_script_with_what_it_needs() -> None:
    lines = [line for line in (CRON / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    variables = dict(line.split("=", 1) for line in lines if line[0].isupper())
    assert set(variables) == {"SHELL", "PATH", "JAVA_HOME", "MAILTO"}
    jobs = [line for line in lines if not line[0].isupper()]
    assert jobs
    for job in jobs:
        *times, command = job.split(" ", 5)
        assert len(times) == 5 and "%" not in command
        assert all(part.startswith("embedlake-cron handbook") for part in command.split(" && "))


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
