"""The export summary."""

from collections.abc import Mapping
from dataclasses import dataclass

from spark_jobs.export.check import NEIGHBOURS, SAMPLE
from spark_jobs.runtime.report import render_lines


@dataclass(frozen=True)
class ExportReport:
    """What an export did, or would do.

    Attributes:
        target: The target's name.
        space: Library and space.
        version: Exported version of `vectors`.
        rows: Number of its rows.
        plan: How the rows to send were found, and why.
        sent: Number of rows sent, new and changed.
        removed: Number of rows removed.
        recall: Recall@10 through the target's own index, over a sample; None if nothing was sent.
        notes: The target's notes.
        seconds: Wall-clock seconds by step.
        is_dry: Whether nothing was changed and the counts are only what an export would do.
        replaced: Library and space whose rows the target held before; None if it held none of another space.
    """

    target: str
    space: str
    version: int
    rows: int
    plan: str
    sent: int
    removed: int
    recall: float | None
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    is_dry: bool = False
    replaced: str | None = None

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        return render_lines(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the summary as pairs of label and text."""
        steps = " · ".join(f"{step} {value:.1f}" for step, value in self.seconds.items())
        lines = [
            ("target", self.target),
            ("space", f"{self.space} · {self.rows:,} rows of vectors at version {self.version}"),
            ("plan", self.plan),
            ("rows", self._counts()),
        ]
        if self.replaced is not None:
            verb = "would be switched" if self.is_dry else "switched"
            lines.append(("switch", f"{verb} from space {self.replaced} to space {self.space}"))
        if self.recall is not None:
            of = f"the {NEIGHBOURS} nearest of {min(SAMPLE, self.rows)} stored vectors, against exact search"
            lines.append(("recall", f"{self.recall:.3f} of {of}"))
        lines += [("note", note) for note in self.notes]
        return [*lines, ("seconds", f"{sum(self.seconds.values()):.0f}: {steps}")]

    def _counts(self) -> str:
        if self.is_dry:
            return f"{self.sent:,} would be sent · {self.removed:,} would be removed · nothing was changed"
        if not self.sent and not self.removed:
            return "nothing to send and nothing to remove"
        return f"{self.sent:,} sent · {self.removed:,} removed"
