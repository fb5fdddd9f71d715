"""What a check found: one line each, with what to do about it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "fault"]
_LEVELS: tuple[Level, ...] = ("ok", "warning", "fault")
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        name: What was looked at, such as `java` or `packages`.
        level: Whether it works, may cost something, or will fail.
        cause: What was found, in one sentence.
        remedy: What to do; empty if nothing has to be done.
    """

    name: str
    level: Level
    cause: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings about one platform.

    Attributes:
        findings: In the order in which they were looked for.
    """

    findings: tuple[Finding, ...]

    def count(self, level: Level) -> int:
        """Counts the findings of one level."""
        return Counter(each.level for each in self.findings)[level]

    @property
    def has_faults(self) -> bool:
        """Whether anything will fail."""
        return self.count("fault") > 0

    def __str__(self) -> str:
        width = max((len(each.name) for each in self.findings), default=0) + 2
        lines = [
            f"{each.level:<9}{each.name:<{width}}{' '.join(filter(None, (each.cause, each.remedy)))}"
            for each in self.findings
        ]
        return "\n".join([*lines, "", self.summary])

    @property
    def summary(self) -> str:
        """Counts the levels in one line, the worst first."""
        faults, warnings = self.count("fault"), self.count("warning")
        return f"{faults} fault{'s' * (faults != 1)}, {warnings} warning{'s' * (warnings != 1)}, {self.count('ok')} ok"

    def as_dict(self) -> dict[str, Any]:
        """Returns the findings and their counts as plain values."""
        return {
            "faults": self.count("fault"),
            "warnings": self.count("warning"),
            "findings": [asdict(each) for each in self.findings],
        }


def ok(name: str, cause: str) -> Finding:
    """Makes a finding that needs nothing."""
    return Finding(name, "ok", cause)


def warning(name: str, cause: str, remedy: str) -> Finding:
    """Makes a finding that may cost time, safety or quality."""
    return Finding(name, "warning", cause, remedy)


def fault(name: str, cause: str, remedy: str) -> Finding:
    """Makes a finding that makes jobs fail."""
    return Finding(name, "fault", cause, remedy)


def listed(names: Sequence[str]) -> str:
    """Lists the first names, and how many more there are.

    Args:
        names: Any number of names.

    Returns:
        Text for a sentence.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a", "b", "c", "d", "e", "f", "g"])
        ('a, b and c', 'a, b, c, d, e and 2 more')
    """
    if len(names) > _MOST_NAMES:
        return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def grouped(values: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Groups places by what was found there.

    Args:
        values: Pairs of place and value.

    Returns:
        The places of each value, in their order.
    """
    groups: dict[str, list[str]] = {}
    for place, value in values:
        groups.setdefault(value, []).append(place)
    return groups


def told_groups(groups: Mapping[str, Sequence[str]]) -> str:
    """Says in words which value was found where."""
    return ", ".join(f"{value} on {listed(places)}" for value, places in groups.items())


def version_numbers(text: str) -> tuple[int, ...]:
    """Reads the leading numbers of a version; `4.2.0.dev1` is (4, 2, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found is not None else ()
