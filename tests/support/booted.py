"""A real systemd over a throw-away copy of this system: namespaces, an overlay in memory, control groups of its own.

Needs root, and a system whose control groups are mounted one by one. What is written in it is lost with it.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SYSTEMD = Path("/lib/systemd/systemd")
_GROUPS = Path("/sys/fs/cgroup")
_HIERARCHIES = ("systemd", "unified")
_TARGET = "booted.target"
_SECONDS = 60
# Runs in new namespaces. Everything but the kernel's own file systems is an overlay, whose upper layer is lost.
_BOOT = """
set -eu
top=/mnt
{layer} $top
mkdir -p $top/upper $top/work $top/root
mount -t overlay overlay -o lowerdir=/,upperdir=$top/upper,workdir=$top/work $top/root
cd $top/root
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
mount -t tmpfs tmpfs run
mkdir -p before
pivot_root . before
cd /
umount -l before
printf '[Unit]\\nDescription=Nothing but what is started by hand\\n' >/etc/systemd/system/{target}
exec env -i container=booted PATH=/usr/sbin:/usr/bin:/sbin:/bin {systemd} --system --unit={target} \
    --log-target=console --log-level=warning --show-status=0
"""


def missing() -> str:
    """Says what this machine lacks; empty if nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if not _SYSTEMD.exists():
        return "needs systemd (Debian: apt-get install systemd)"
    if not all(_GROUPS.joinpath(name, "cgroup.procs").exists() for name in _HIERARCHIES):
        return "needs control groups that are mounted one by one"
    if subprocess.run(["unshare", "--mount", "--pid", "--cgroup", "--fork", "true"], check=False).returncode != 0:
        return "needs to make namespaces"
    return ""


@dataclass(frozen=True)
class Booted:
    """A system that runs.

    Attributes:
        pid: Its first process, as this system sees it.
    """

    pid: int

    def run(self, *command: str, check: bool = True, text: str | None = None) -> str:
        """Runs a command as root; returns its standard output without the last line's end."""
        enter = [
            "nsenter",
            "--target",
            str(self.pid),
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--cgroup",
            "--root",
            "--wd",
        ]
        done = subprocess.run(
            [*enter, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout.rstrip("\n")

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Writes a file."""
        self.run("mkdir", "-p", os.path.dirname(path))
        self.run("tee", path, text=text)
        self.run("chmod", mode, path)


@contextmanager
def booted(log: Path, layer: Path | None = None) -> Iterator[Booted]:
    """Boots a system, and ends it.

    Args:
        log: File for what systemd says.
        layer: Folder for what is written in the system, of which another one may begin; None keeps it in memory.

    Yields:
        The system.
    """
    groups = [_GROUPS / name / f"booted-{os.getpid()}" for name in _HIERARCHIES]
    for group in groups:
        group.mkdir()
    enter = "".join(f"echo $$ >{group}/cgroup.procs; " for group in groups)
    mount = "mount -t tmpfs tmpfs" if layer is None else f"mount --bind {layer}"
    boot = _BOOT.format(target=_TARGET, systemd=_SYSTEMD, layer=mount)
    # Nothing outlives this process, however it ends.
    unshare = "exec setpriv --pdeathsig KILL unshare --mount --pid --cgroup --uts --ipc --fork --kill-child sh -c"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", f'{enter}{unshare} "$1"', "sh", boot], stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        system = Booted(_first_process(process))
        _await(system)
        yield system
    finally:
        process.kill()
        process.wait()
        for group in groups:
            _remove(group)


def _first_process(unshared: "subprocess.Popen[bytes]") -> int:
    children = Path(f"/proc/{unshared.pid}/task/{unshared.pid}/children")
    ends = time.monotonic() + _SECONDS
    while time.monotonic() < ends and unshared.poll() is None:
        found = children.read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.05)
    raise RuntimeError("no namespaces could be made")


def _await(system: Booted) -> None:
    ends = time.monotonic() + _SECONDS
    while time.monotonic() < ends:
        if system.run("systemctl", "is-system-running", check=False) in ("running", "degraded"):
            return
        time.sleep(0.2)
    raise RuntimeError("systemd did not start")


def _remove(group: Path) -> None:
    ends = time.monotonic() + _SECONDS
    while time.monotonic() < ends:
        try:
            # Files of a control group go with it.
            for folder, _, _ in os.walk(group, topdown=False):
                os.rmdir(folder)
            return
        except OSError:
            time.sleep(0.1)
