"""How far a run is, drawn on a terminal: a few lines that move, above them what is finished and stays."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from spark_jobs.runtime.events import Event
from spark_jobs.runtime.figures import Figures

_FRAMES_PER_SECOND = 5
_LONGEST_BAR, _SHORTEST_BAR = 60, 8
# What stands beside a bar: its name, the percentage and the time left.
_BESIDE = 34
_MOST_FIGURE_LINES = 3
_BETWEEN = " · "


class LiveDisplay:
    """Draws the step in progress, bars of run and slice, and figures, until the block is left.

    Args:
        console: A terminal.
        figures: What to draw; read for each frame.
    """

    def __init__(self, console: Console, figures: Figures) -> None:
        self._console, self._figures = console, figures
        self._steps: dict[tuple[int | None, str], float] = {}
        self._of_slices: dict[int, dict[str, float]] = {}
        self._spinner = Spinner("dots")
        self._live = Live(
            console=console,
            get_renderable=self._frame,
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> "LiveDisplay":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if self._figures.total:
            # The last frame stays, as it was when the run ended.
            self._print(_summary(self._figures, kind is None))

    def show(self, event: Event) -> None:
        """Draws a step from now on, or prints what is finished."""
        values = event.values
        number = values.get("slice")
        if event.name == "step_started":
            self._steps[number, values["step"]] = time.monotonic()
        elif event.name == "step_ended":
            self._steps.pop((number, values["step"]), None)
            if number is not None:
                steps = self._of_slices.setdefault(number, {})
                steps[values["step"]] = steps.get(values["step"], 0.0) + values["seconds"]
            elif values["outcome"] == "finished":
                self._print(_finished(values["step"], values["seconds"]))
        elif event.name == "slice_committed":
            self._print(_slice_line(values["slice"], self._of_slices.pop(values["slice"], {}), self._figures))
        elif event.text:
            self._print(Text(event.text, style="yellow" if event.level == "warning" else ""))

    def _print(self, line: Text) -> None:
        # Wrapped between words, and under the text instead of under the time.
        row = Table.grid(padding=(0, 1))
        row.add_row(Text(time.strftime("%H:%M:%S"), style="dim", no_wrap=True), line)
        self._console.print(row)

    def _frame(self) -> RenderableType:
        # One column less: a line that fills a terminal moves some of them to the next one.
        figures, width = self._figures, self._console.width - 1
        lines: list[RenderableType] = [self._step_line(width)]
        if figures.total:
            if 0 < figures.slice_tokens < figures.total:
                within = (figures.done - figures.slice_from) / figures.slice_tokens
                lines.append(_bar_line(f"slice {figures.slice_number}", within, "", width))
            lines.append(_bar_line("run", figures.done / figures.total, _time_left(figures.seconds_left), width))
            lines += [Text(line, no_wrap=True, overflow="crop") for line in _flowed(_parts(figures), width)]
        return Group(*lines)

    def _step_line(self, width: int) -> RenderableType:
        # Other threads add and remove steps. The newest is what people wait for; without one, it is a commit.
        steps, now = list(self._steps.items()), time.monotonic()
        told = [f"{name} {now - began:.0f} s" for (_, name), began in reversed(steps)] or ["…"]
        row = Table.grid(padding=(0, 1))
        row.add_row(self._spinner, Text(_flowed(told, width - 2, indent="")[0], no_wrap=True, overflow="crop"))
        return row


def _finished(name: str, seconds: float) -> Text:
    return Text(f"{name:<13}{seconds:>8.1f} s")


def _slice_line(number: int, steps: dict[str, float], figures: Figures) -> Text:
    """Renders a committed slice: its seconds, the counts so far, and its steps."""
    line = _finished(f"slice {number}", sum(steps.values()))
    counts = [f"{figures.documents:,} documents", f"{figures.chunks:,} chunks"]
    return line.append("  " + _BETWEEN.join([*counts, *(f"{step} {seconds:.1f}" for step, seconds in steps.items())]))


def _bar_line(name: str, share: float, left: str, width: int) -> RenderableType:
    share = min(1.0, max(0.0, share))
    length = max(_SHORTEST_BAR, min(_LONGEST_BAR, width - _BESIDE))
    row = Table.grid(padding=(0, 1))
    # Never 100 before everything is done.
    row.add_row(
        Text(f"  {name:<8}", no_wrap=True, overflow="crop"),
        ProgressBar(total=1.0, completed=share, width=length),
        Text(f"{int(share * 100):3d}%{_BETWEEN if left else ''}{left}", no_wrap=True, overflow="crop"),
    )
    return row


def _flowed(parts: Sequence[str], width: int, indent: str = "  ") -> list[str]:
    """Joins parts to a few lines that fit; what does not is left out, and cut if it is the first."""
    lines = [indent + parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(_BETWEEN) + len(part) <= width:
            lines[-1] += _BETWEEN + part
        elif len(lines) < _MOST_FIGURE_LINES:
            lines.append(indent + part)
    return [line[: max(1, width)] for line in lines]


def _parts(figures: Figures) -> list[str]:
    """Renders figures, the ones that people look for first."""
    parts = [f"{figures.done:,} of about {figures.total:,} tokens"]
    if figures.rate >= 1:
        parts.append(f"{figures.rate:,.0f} tokens/s")
    parts.append(f"{figures.documents:,} of {figures.all_documents:,} documents")
    return [*parts, *_counts(figures)]


def _counts(figures: Figures) -> list[str]:
    texts = "text" if figures.failed == 1 else "texts"
    parts = [f"{figures.chunks:,} chunks", f"{figures.failed:,} {texts} quarantined"]
    if figures.cost is not None:
        parts.append(f"{figures.cost:,.2f} {figures.currency}")
    return parts


def _time_left(seconds: float | None) -> str:
    if seconds is None or seconds < 1:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s left"
    minutes = round(seconds / 60)
    return f"{minutes} min left" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min left"


def _summary(figures: Figures, is_finished: bool) -> Text:
    share = figures.done / figures.total
    bar = Text("━" * int(share * 20), style="green" if is_finished else "red")
    parts = [f"{int(share * 100)}%", f"{figures.seconds:.0f} s", f"{figures.documents:,} documents", *_counts(figures)]
    return bar + Text(" " + _BETWEEN.join(parts))
