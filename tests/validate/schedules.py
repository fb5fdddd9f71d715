"""Follows docs/schedules.md for cron and systemd, line by line, in a throw-away copy of this system with real runs.

Run by `make validate-schedules`, or with the names of parts: cron, systemd. Needs root, and for cron the network, from
which Debian's packages cron and logrotate are installed into the copy.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.booted import Booted, booted, missing  # noqa: E402
from tests.support.refresh.oracle import query  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.quick_start import compare, copied_out, edit  # noqa: E402
from tests.validate.real_data import MODEL, need  # noqa: E402

RESULTS = ROOT / "tests" / "validate" / "results" / "schedules.json"
PAGE = ROOT / "docs" / "schedules.md"
STATE, STORE, EXPORT = "/var/lib/embedlake", "/var/lib/embedlake/lake", "parquet:/var/lib/embedlake/exported"
RUN, FOLLOW, UPKEEP = (f"embedlake{name}@handbook" for name in ("", "-follow", "-upkeep"))
SECONDS = 600
# An environment may have packages of another one.
PACKAGES = " ".join(path for path in sys.path if path.endswith("site-packages"))
# The packages of this checkout's environment instead of gigabytes in memory, with the system's own Python: services and
# the user embedlake see no folder of root's, where this environment's may be.
INSTEAD = {
    "/opt/embedlake/bin/pip install 'dist/embedlake-0.1.0-py3-none-any.whl[spark]'": (
        f"printf '%s\\n' {PACKAGES} {ROOT} >$(echo /opt/embedlake/lib/python3*/site-packages)/checkout.pth; "
        "printf '#!/opt/embedlake/bin/python3\\nfrom spark_jobs.cli import main\\nmain()\\n' >/tmp/embedlake; "
        "install -m 755 /tmp/embedlake /opt/embedlake/bin/embedlake"
    ),
}


@dataclass
class Machine:
    """The copy of the system, and how far the page has been followed in it."""

    system: Booted
    scratch: Path
    followed: list[str] = field(default_factory=list)

    def shell(self, line: str) -> str:
        """Runs a line as root in the checkout."""
        return self.system.run("sh", "-c", f"cd {ROOT} && {line}")

    def follow(self, section: str, upto: str | None = None) -> None:
        """Runs the lines of a section that were not run yet, as far as the one that begins with some text."""
        for line in lines_of(section):
            if line in self.followed:
                continue
            if upto is not None and line.startswith(upto):
                return
            self.followed.append(line)
            print(f"      # {line}", flush=True)
            self.shell(INSTEAD.get(line, line).replace(" env ", f" env {own_variables()} "))

    def path(self, path: str) -> Path:
        """A path in the copy, as seen from here."""
        return Path(f"/proc/{self.system.pid}/root{path}")

    def wait(self, what: str, holds: Callable[[], bool]) -> float:
        """Waits for something; returns how long."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > SECONDS:
                sys.exit(f"waited in vain for {what}")
            time.sleep(0.5)
        return time.monotonic() - began

    def commits(self) -> int:
        """How many commits the record of runs has."""
        folder = self.path(f"{STORE}/_embedlake/runs/_delta_log")
        return len(list(folder.glob("*.json")))

    def events(self) -> list[str]:
        """The events of runs so far; none may be at work."""
        rows = query(
            copied_out(self.system, f"{STORE}/_embedlake/runs", self.scratch),
            "select event from t order by run_number, event_time",
        )
        return [row["event"] for row in rows]


def lines_of(section: str) -> list[str]:
    """The command lines of a section of the page."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [line[4:] for line in text.splitlines() if line.startswith("    ")]


def prepare(machine: Machine) -> Path:
    """Collects the documents of the quick start, writes settings, and follows the page's first section."""
    source = machine.path("/srv/documents/docstrings.parquet")
    machine.shell("mkdir -p /srv/documents")
    with tempfile.TemporaryDirectory() as folder:
        collected = Path(folder, "docstrings.parquet")
        subprocess.run([sys.executable, ROOT / "quickstart" / "collect_docstrings.py", "--out", collected], check=True)
        source.write_bytes(collected.read_bytes())
    values = yaml.safe_load((ROOT / "conf" / "quickstart.yaml").read_text(encoding="utf-8"))
    values["store"]["path"], values["source"]["path"] = STORE, "/srv/documents/docstrings.parquet"
    values["model"]["path"] = str(MODEL.resolve())
    machine.system.write(f"{ROOT}/settings.yaml", yaml.safe_dump(values))
    machine.follow("Prepare the machine")
    return source


def own_variables() -> str:
    """The code of this checkout, where it is not the environment's own, and the Java that this was started with."""
    return " ".join(f"{name}={os.environ[name]}" for name in ("PYTHONPATH", "JAVA_HOME") if os.environ.get(name))


def held(outcome: Outcome, machine: Machine, what: str, source: Path, exported: str | None) -> None:
    """Compares the tables with the source."""
    folder = copied_out(machine.system, exported, machine.scratch) if exported else None
    compare(outcome, what, source, copied_out(machine.system, f"{STORE}/python-docs/main", machine.scratch), folder)


# cron


def cron(outcome: Outcome, machine: Machine) -> None:
    """Has cron's own daemon load, refresh, fail, and look after the library."""
    machine.shell("apt-get update -qq && apt-get install -qq --no-install-recommends cron logrotate >/dev/null 2>&1")
    # Cron calls it as the crontab's user.
    machine.system.write("/usr/sbin/sendmail", "#!/bin/sh\ncat >>/var/mails\n", "755")
    machine.system.write("/var/mails", "", "666")
    source = prepare(machine)
    machine.follow("Cron", upto="runuser")
    change_crontab(machine, "15 \\*", "* *", 'postgresql:[^"]*', EXPORT)
    machine.shell("systemctl start cron")
    machine.wait("the first export", lambda: ended(machine, "handbook-export", 0))
    held(outcome, machine, "first load", source, "/var/lib/embedlake/exported")
    outcome.equal("first load: mails", mails(machine), "")
    edit(source, changed=3, removed=1, added=1)
    seen = log(machine, "handbook-export").count("ended with exit code 0")
    machine.wait("a refresh", lambda: log(machine, "handbook-export").count("ended with exit code 0") > seen + 1)
    held(outcome, machine, "refresh", source, "/var/lib/embedlake/exported")
    outcome.equal("refresh: mails", mails(machine), "")
    refused(outcome, machine)
    change_crontab(machine, "45 3 \\* \\* 0", "* * * * *")
    machine.wait("maintain", lambda: ended(machine, "handbook-maintain", 0))
    outcome.equal("upkeep: verify and maintain ended well", ended(machine, "handbook-verify", 0), True)
    machine.shell("systemctl stop cron")
    machine.shell("mv /srv/documents /srv/elsewhere && systemctl start cron")
    machine.wait("a fault", lambda: ended(machine, "handbook", 2))
    machine.wait("a mail", lambda: bool(mails(machine)))
    machine.wait("another one", lambda: log(machine, "handbook").count("ended with exit code 2") > 1)
    machine.shell("systemctl stop cron && mv /srv/elsewhere /srv/documents")
    outcome.equal("no source: the mail's address", "To: data-team@example.com" in mails(machine), True)
    outcome.equal(
        "no source: mails after two starts",
        mails(machine).count("embedlake embed for handbook: somebody has to look."),
        1,
    )
    # The lines that are for trying by hand; the environment is the crontab's.
    by_hand, tail, rotate = [line for line in lines_of("Cron") if line not in machine.followed]
    machine.shell(by_hand.replace(" env ", f" env {own_variables()} "))
    outcome.equal("by hand: the log's end", "ended with exit code 0" in machine.shell(tail), True)
    machine.shell(rotate)
    names = machine.shell("ls /var/log/embedlake").split()
    outcome.equal("logs after a rotation", {"handbook.log", "handbook.log.1"} <= set(names), True)
    outcome.equal(
        "owner and mode of the new log",
        machine.shell("stat -c '%U %a' /var/log/embedlake/handbook.log"),
        "embedlake 640",
    )
    outcome.measured(
        cron=machine.shell("dpkg-query -f '${Version}' -W cron"), starts=log(machine, "handbook", 1).count("starts: ")
    )


def refused(outcome: Outcome, machine: Machine) -> None:
    """Holds a run after its first commit, so that cron's next start is refused."""
    edit(machine.path("/srv/documents/docstrings.parquet"), changed=2, removed=0, added=0)
    machine.shell("systemctl stop cron")
    machine.wait("the last start", lambda: not working(machine))
    code = log(machine, "handbook").count("ended with exit code 4")
    path = "/opt/embedlake/bin:/usr/local/bin:/usr/bin:/bin"
    variables = f"HOME={STATE} PATH={path} TEST_FAILPOINT=runs.after:1:stop {own_variables()}"
    command = "embedlake-cron by-hand embed --config /etc/embedlake/handbook.yaml"
    machine.shell(f"(setsid runuser -u embedlake -- env {variables} {command} >/dev/null 2>&1 </dev/null &)")
    machine.wait("a run at its first commit", lambda: bool(stopped(machine)))
    machine.shell("systemctl start cron")
    machine.wait("a refused start", lambda: log(machine, "handbook").count("ended with exit code 4") > code)
    outcome.equal("another run is active: mails", mails(machine), "")
    machine.shell(f"kill -CONT {stopped(machine)}")
    machine.wait("its end", lambda: ended(machine, "by-hand", 0))


def working(machine: Machine) -> str:
    return machine.shell("pgrep -f [e]mbedlake/bin/embedlake; true")


def stopped(machine: Machine) -> str:
    return machine.shell("ps -eo pid,stat,args | awk '$2 ~ /^T/ && /embedlake/ { print $1 }'")


def change_crontab(machine: Machine, *changes: str) -> None:
    """Edits the crontab as its reader is asked to, and has it start every minute."""
    expressions = [f"s#^{old}#{new}#;s#{old}#{new}#" for old, new in zip(changes[::2], changes[1::2], strict=True)]
    lines = "".join(f"{part}\\n" for part in own_variables().split())
    edited = f"{{ printf '{lines}'; crontab -u embedlake -l | grep -v ^JAVA_HOME; }}"
    if "PYTHONPATH" in machine.shell("crontab -u embedlake -l"):
        edited = "crontab -u embedlake -l"
    machine.shell(f"{edited} | sed '{';'.join(expressions)}' >/tmp/crontab && crontab -u embedlake /tmp/crontab")


def log(machine: Machine, name: str, older: int = 0) -> str:
    path = machine.path(f"/var/log/embedlake/{name}.log{'.1' if older else ''}")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def ended(machine: Machine, name: str, code: int) -> bool:
    return f"ended with exit code {code}\n" in log(machine, name)


def mails(machine: Machine) -> str:
    return machine.shell("cat /var/mails")


# systemd


def systemd(outcome: Outcome, machine: Machine) -> None:
    """Has systemd load and stop runs, follow, and look after the library."""
    source = prepare(machine)
    machine.system.write("/etc/embedlake/handbook.env", "\n".join(own_variables().split()) + "\n", "600")
    machine.follow("Systemd", upto="install -d")
    # The line starts a run, and the next ones do not wait for it.
    machine.wait("the first load", lambda: settled(machine, RUN))
    outcome.equal("first load: unit", state(machine, RUN), "inactive success")
    held(outcome, machine, "first load", source, None)
    outcome.equal("timers that wait", machine.shell("systemctl list-timers --no-legend 'embedlake*' | wc -l"), "2")
    machine.follow("Systemd", upto="systemctl disable")
    outcome.equal(
        "a folder that was added", machine.shell(f"systemctl show --value -p ReadWritePaths {RUN}.service"), "/srv/lake"
    )
    stop_run(outcome, machine, source)
    machine.shell(f"systemctl start {UPKEEP}.service")
    outcome.equal("upkeep: unit", state(machine, UPKEEP), "inactive success")
    machine.follow("Systemd")
    machine.wait("the follower's first look", lambda: "follow" in journal(machine, FOLLOW))
    edit(source, changed=2, removed=1, added=0)
    machine.wait("a refresh", lambda: "2 changed" in journal(machine, FOLLOW))
    held(outcome, machine, "follower", source, None)
    seconds = timed(lambda: machine.shell(f"systemctl stop {FOLLOW}.service"))
    outcome.equal("follower stopped: unit", state(machine, FOLLOW), "inactive success")
    outcome.at_most("follower stopped: seconds", seconds, 20)
    outcome.measured(systemd=machine.shell("systemctl --version | head -1"))


def stop_run(outcome: Outcome, machine: Machine, source: Path) -> None:
    """Stops a run that is at work, then starts it again."""
    edit(source, changed=300, removed=0, added=0)
    before = machine.commits()
    machine.shell(f"systemctl start {RUN}.service")
    machine.wait("a run at work", lambda: machine.commits() > before)
    seconds = timed(lambda: machine.shell(f"systemctl stop {RUN}.service"))
    outcome.equal("a run stopped at work: unit", state(machine, RUN), "inactive success")
    outcome.equal("a run stopped at work: its last event", machine.events()[-1], "stopped")
    outcome.at_most("a run stopped at work: seconds", seconds, 20)
    outcome.equal("a run stopped at work: processes left", machine.shell("pgrep -u embedlake | wc -l"), "0")
    machine.shell(f"systemctl start {RUN}.service")
    machine.wait("its end", lambda: settled(machine, RUN))
    held(outcome, machine, "started again", source, None)


def timed(act: Callable[[], Any]) -> float:
    began = time.monotonic()
    act()
    return round(time.monotonic() - began, 1)


def state(machine: Machine, unit: str) -> str:
    shown = machine.shell(f"systemctl show --value -p ActiveState -p Result {unit}.service").splitlines()
    return " ".join(sorted(shown, key=lambda word: word == "success"))


def settled(machine: Machine, unit: str) -> bool:
    return state(machine, unit).split()[0] in ("inactive", "failed")


def journal(machine: Machine, unit: str) -> str:
    return machine.shell(f"journalctl --unit {unit} --output cat --no-pager")


PARTS: dict[str, Callable[[Outcome, Machine], None]] = {"cron": cron, "systemd": systemd}


def main() -> None:
    """Follows the page; exits 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"parts to run: {', '.join(PARTS)}; all by default")
    need(MODEL)
    if reason := missing():
        sys.exit(f"make validate-schedules: {reason}")
    faults = []
    for name in parser.parse_args().parts or list(PARTS):
        outcome = Outcome(f"schedules: {name}")
        with tempfile.TemporaryDirectory() as scratch, booted(Path(scratch, "log")) as system:
            machine = Machine(system, Path(scratch))
            PARTS[name](outcome, machine)
            left = [line for line in lines_of("Prepare the machine") if line not in machine.followed]
            outcome.equal("lines of the page's first section that were not followed", left, [])
        write_outcome(RESULTS, outcome, "make validate-schedules")
        faults += outcome.faults
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
