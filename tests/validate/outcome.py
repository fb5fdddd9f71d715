"""What a validation found: its checks, its figures, and the two files that keep them."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_MOST_CHARACTERS = 1500
_ROOT = Path(__file__).resolve().parents[2]
_CPU = Path("/proc/cpuinfo").read_text(encoding="utf-8")
_PACKAGES = ("pyspark", "delta-spark", "torch", "transformers", "sentence-transformers", "deltalake", "pyarrow")


def _revision() -> str:
    # Named by whoever copied the code to a machine without its repository.
    if "TEST_REVISION" in os.environ:
        return os.environ["TEST_REVISION"]
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


# Asked at the start: what runs later was read from disk then, whatever is committed meanwhile.
_REVISION = _revision()


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        what: What was compared.
        found: What was found.
        wanted: What it should be, in words.
        holds: Whether it is.
    """

    what: str
    found: Any
    wanted: str
    holds: bool

    def __str__(self) -> str:
        return f"{self.what}: {_shown(self.found)} ({self.wanted})"


@dataclass
class Outcome:
    """What one part of a validation found.

    Attributes:
        part: Name of the part.
        checks: What was compared.
        figures: What was measured without being held to anything.
    """

    part: str
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def equal(self, what: str, found: Any, wanted: Any) -> None:
        """Holds a figure to an exact value.

        Args:
            what: What is compared.
            found: What was found.
            wanted: What it should be.
        """
        self._check(Check(what, found, f"must be {_shown(wanted)}", found == wanted))

    def at_most(self, what: str, found: float, most: float) -> None:
        """Holds a figure to an upper bound.

        Args:
            what: What is compared.
            found: What was found.
            most: What it may be.
        """
        self._check(Check(what, found, f"at most {_shown(most)}", found <= most))

    def at_least(self, what: str, found: float, least: float) -> None:
        """Holds a figure to a lower bound.

        Args:
            what: What is compared.
            found: What was found.
            least: What it must be.
        """
        self._check(Check(what, found, f"at least {_shown(least)}", found >= least))

    def measured(self, **figures: Any) -> None:
        """Notes figures.

        Args:
            **figures: Values by name.
        """
        self.figures.update(figures)
        print("      " + ", ".join(f"{name} {_shown(value)}" for name, value in figures.items()), flush=True)

    def _check(self, check: Check) -> None:
        self.checks.append(check)
        print(f"{'ok   ' if check.holds else 'WRONG'} {check}", flush=True)

    @property
    def faults(self) -> list[str]:
        """The checks that do not hold, in words."""
        return [f"{self.part}: {check}" for check in self.checks if not check.holds]


@contextmanager
def kept_going(outcome: Outcome) -> Iterator[None]:
    """Makes a check of what ends a part early, because the other parts are worth their time all the same."""
    try:
        yield
    except (Exception, SystemExit) as error:
        outcome.equal("went through", str(error)[-_MOST_CHARACTERS:], "")


def write_outcome(path: Path, outcome: Outcome, command: str) -> None:
    """Puts what a part found into a JSON file, beside other parts' results, and writes the table of all of them.

    Args:
        path: The JSON file; the table lies beside it as Markdown.
        outcome: What the part found.
        command: What makes these files.
    """
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    measured = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "revision": _REVISION,
        "machine": _machine(),
        "versions": ", ".join([f"python {platform.python_version()}", *_installed()]),
    }
    results[outcome.part] = {
        "measured": measured,
        "checks": [asdict(check) for check in outcome.checks],
        "figures": outcome.figures,
    }
    results = dict(sorted(results.items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_compact(json.dumps(results, indent=2, ensure_ascii=False)) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(_table(path.stem, results, command), encoding="utf-8")


def _installed() -> list[str]:
    # The benchmark on a GPU runs without Spark.
    found = []
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found


def _compact(text: str) -> str:
    # Each check on one line.
    inner = re.compile(r"\{\s+(\"what\"[^{}]*?)\s+\}")
    return inner.sub(lambda found: "{" + re.sub(r"\n\s+", " ", found[1]) + "}", text)


def _table(title: str, results: dict[str, Any], command: str) -> str:
    lines = [f"# {title}", "", f"Made by `{command}`; the same figures as JSON are in `{title}.json`.", ""]
    for part, result in results.items():
        measured = result["measured"]
        lines += [f"## {part}", "", f"{measured['date']}, revision {measured['revision']}, {measured['machine']},"]
        lines += [measured["versions"], "", "| check | found | wanted | holds |", "| --- | --- | --- | --- |"]
        for check in result["checks"]:
            holds = "yes" if check["holds"] else "**no**"
            lines.append(f"| {check['what']} | {_shown(check['found'])} | {check['wanted']} | {holds} |")
        lines += ["", "| figure | value |", "| --- | --- |"]
        lines += [f"| {name.replace('_', ' ')} | {_shown(value)} |" for name, value in result["figures"].items()]
        lines.append("")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if type(value) is int else str(value) or "none"


def processor() -> str:
    """Names the processor of this machine.

    Returns:
        Its maker's name for it, or the architecture's.
    """
    names = re.findall(r"^model name\s*: (.*)$", _CPU, re.MULTILINE)
    return str(names[0]).replace("(R)", "").strip() if names else platform.machine()


def _machine() -> str:
    half = [name.upper().replace("_", "-") for name in ("amx_bf16", "avx512_bf16") if f" {name}" in _CPU]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{', '.join([processor(), *half])}, {os.cpu_count()} cores, {memory:.0f} GiB"
