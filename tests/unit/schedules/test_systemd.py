"""The units of systemd, read by systemd-analyze, and run by a real systemd with a stand-in for the command."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.booted import Booted, booted, missing
from tests.support.exit_codes import BUSY, CAPPED, DONE, EVERY, LOOKED_AT, REPEATED
from tests.support.paths import ROOT

UNITS = ROOT / "conf" / "schedules" / "systemd"
COMMAND = "/opt/embedlake/bin/embedlake"
# Ends with the code that stands first in a file, or waits for SIGTERM, as does a child, which stands for Java. Starts
# and signals are lines of another file.
STAND_IN = """#!/bin/sh
(trap 'echo child stopped >>/var/lib/embedlake/starts' TERM; while :; do sleep 0.1; done) &
trap 'echo stopped >>/var/lib/embedlake/starts; exit 143' TERM
echo "$*" >>/var/lib/embedlake/starts
read -r code </etc/embedlake/handbook.yaml
[ "$code" != wait ] || while :; do sleep 0.1; done
kill -KILL $!
exit "$code"
"""
SECONDS = 30


# Read


def copied(folder: Path) -> list[Path]:
    """Copies of the units for the library handbook, with a command that is there."""
    made = []
    for unit in UNITS.iterdir():
        made.append(folder / unit.name.replace("@", "@handbook"))
        made[-1].write_text(unit.read_text(encoding="utf-8").replace(COMMAND, "/bin/true"), encoding="utf-8")
    return made


def verify(units: list[Path]) -> str:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_systemd_understands_every_unit(tmp_path: Path) -> None:
    assert verify(copied(tmp_path)) == ""


def test_a_setting_that_systemd_does_not_know_is_noticed(tmp_path: Path) -> None:
    units = copied(tmp_path)
    (timer,) = [unit for unit in units if unit.name == "embedlake@handbook.timer"]
    timer.write_text(timer.read_text().replace("OnCalendar=hourly", "OnCalendar=hourly\nOnCalender=daily"))
    assert "OnCalender" in verify(units)


@pytest.mark.parametrize("name", ["embedlake", "embedlake-follow", "embedlake-upkeep"])
def test_a_service_is_exposed_to_little(tmp_path: Path, name: str) -> None:
    copied(tmp_path)
    verify([])
    unit = tmp_path / f"{name}@handbook.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    # The threshold is in tenths: below 2.0 is what systemd calls OK.
    assert done.returncode == 0, done.stdout[-500:]


# Run


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    if reason := missing():
        pytest.skip(reason)
    with booted(tmp_path_factory.mktemp("booted") / "log") as system:
        system.run("useradd", "--system", "--no-create-home", "embedlake")
        # Users may write here, the service may not.
        system.run("chmod", "777", "/srv")
        for unit in UNITS.iterdir():
            text = unit.read_text(encoding="utf-8")
            system.write(f"/etc/systemd/system/{unit.name}", re.sub(r"(?m)^RestartSec=.*", "RestartSec=50ms", text))
        system.write(COMMAND, STAND_IN, "755")
        system.write("/usr/local/bin/mail", '#!/bin/sh\n{ echo "$*"; cat; } >>/var/lib/mails\n', "755")
        system.write("/etc/embedlake/handbook.env", "SECRET=1\n", "600")
        system.run("systemctl", "daemon-reload")
        yield system


def prepare(system: Booted, code: int | str) -> None:
    system.write("/etc/embedlake/handbook.yaml", f"{code}\n")
    system.run("rm", "-f", "/var/lib/embedlake/starts", "/var/lib/mails")
    system.run("systemctl", "reset-failed")


def await_state(system: Booted, unit: str, *states: str) -> dict[str, str]:
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        shown = system.run("systemctl", "show", unit, "--property=ActiveState,Result")
        found = dict(line.split("=", 1) for line in shown.splitlines())
        if found["ActiveState"] in states:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{unit} is {found}")


def starts(system: Booted) -> list[str]:
    return system.run("sh", "-c", "cat /var/lib/embedlake/starts 2>/dev/null; true").splitlines()


def await_starts(system: Booted, number: int) -> None:
    ends = time.monotonic() + SECONDS
    while len(starts(system)) < number:
        assert time.monotonic() < ends
        time.sleep(0.05)


def mails(system: Booted) -> str:
    ends = time.monotonic() + SECONDS
    listed = ("list-jobs", "--no-legend"), ("list-units", "embedlake-failed@*", "--state=activating", "--no-legend")
    while any(system.run("systemctl", *arguments) for arguments in listed):
        assert time.monotonic() < ends
        time.sleep(0.05)
    return system.run("sh", "-c", "cat /var/lib/mails 2>/dev/null; true")


@pytest.mark.parametrize("code", EVERY)
def test_what_becomes_of_a_run_by_its_exit_code(system: Booted, code: int) -> None:
    prepare(system, code)
    unit = "embedlake@handbook.service"
    system.run("systemctl", "start", unit, check=False)
    state = await_state(system, unit, "inactive", "failed")
    assert state["ActiveState"] == ("inactive" if code in (DONE, BUSY) else "failed")
    assert len(starts(system)) == (4 if code in REPEATED else 1)
    assert set(starts(system)) == {"embed --config /etc/embedlake/handbook.yaml"}
    # Stopped too often is a fault as well.
    told = code in (*LOOKED_AT, CAPPED, *REPEATED)
    assert mails(system).startswith("-s embedlake@handbook has failed on") is told


@pytest.mark.parametrize("name", ["embedlake", "embedlake-follow"])
def test_stopping_is_no_failure_and_final(system: Booted, name: str) -> None:
    prepare(system, "wait")
    unit = f"{name}@handbook.service"
    system.run("systemctl", "start", unit)
    await_starts(system, 1)
    system.run("systemctl", "stop", unit)
    assert await_state(system, unit, "inactive", "failed") == {"ActiveState": "inactive", "Result": "success"}
    assert len(starts(system)) == 2 and starts(system)[1] == "stopped"
    assert not mails(system)


def test_somebody_else_s_signal_does_not_end_a_follower(system: Booted) -> None:
    prepare(system, "wait")
    unit = "embedlake-follow@handbook.service"
    system.run("systemctl", "start", unit)
    await_starts(system, 1)
    system.run("sh", "-c", f"kill -TERM $(systemctl show --value --property=MainPID {unit})")
    await_starts(system, 3)
    follow = "follow --config /etc/embedlake/handbook.yaml"
    assert starts(system) == [follow, "stopped", follow]
    assert await_state(system, unit, "active", "failed")["ActiveState"] == "active"
    system.run("systemctl", "stop", unit)


def test_upkeep_waits_for_another_run(system: Booted) -> None:
    prepare(system, BUSY)
    unit = "embedlake-upkeep@handbook.service"
    system.run("systemctl", "start", "--no-block", unit)
    await_starts(system, 2)
    system.write("/etc/embedlake/handbook.yaml", "0\n")
    await_state(system, unit, "inactive")
    lines = starts(system)
    assert lines[-1] == "maintain --config /etc/embedlake/handbook.yaml"
    assert set(lines[:-1]) == {"verify --config /etc/embedlake/handbook.yaml"}


def test_a_run_may_write_its_own_folders_alone(system: Booted) -> None:
    prepare(system, 0)
    probe = """#!/bin/sh
for folder in /var/lib/embedlake /var/cache/embedlake /tmp /etc/embedlake /opt/embedlake /srv /usr; do
    touch $folder/probe 2>/dev/null && echo "writes $folder"
done
ls /root >/dev/null 2>&1 && echo "reads /root"
cat /etc/embedlake/handbook.env >/dev/null 2>&1 && echo "reads secrets"
echo "$(id -un) in $(pwd) with $HOME $XDG_CACHE_HOME $SECRET"
"""
    system.write(COMMAND, probe, "755")
    try:
        system.run("systemctl", "start", "embedlake@handbook.service")
        await_state(system, "embedlake@handbook.service", "inactive")
    finally:
        system.write(COMMAND, STAND_IN, "755")
    system.run("journalctl", "--sync")
    lines = system.run("journalctl", "--unit=embedlake@handbook", "--output=cat", "--no-pager").splitlines()
    assert [line for line in lines if re.match("writes|reads|embedlake in", line)] == [
        "writes /var/lib/embedlake",
        "writes /var/cache/embedlake",
        "writes /tmp",
        "embedlake in /var/lib/embedlake with /var/lib/embedlake /var/cache/embedlake 1",
    ]


@pytest.mark.parametrize("name", ["embedlake", "embedlake-upkeep"])
def test_a_timer_starts_its_service(system: Booted, name: str) -> None:
    prepare(system, 0)
    system.run("systemctl", "enable", "--now", f"{name}@handbook.timer")
    listed = system.run("systemctl", "list-timers", "--no-legend", "--no-pager")
    assert f"{name}@handbook.service" in listed
    assert system.run("systemctl", "is-enabled", f"{name}@handbook.timer") == "enabled"
    system.run("systemctl", "disable", "--now", f"{name}@handbook.timer")
