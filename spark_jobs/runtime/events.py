"""What happens during a command, told once: a name and values for machines, a line of text for people."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        name: What kind of thing; docs/observability.md lists them.
        values: Numbers and names, never text of documents or their ids.
        text: The line for people; empty if they are not told.
        level: How much it matters.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    level: Level = "info"

    def within(self, about: Mapping[str, Any]) -> "Event":
        """Adds where it happened: library, space, run, slice."""
        return replace(self, values={**about, **self.values})


Observer = Callable[[Event], None]
