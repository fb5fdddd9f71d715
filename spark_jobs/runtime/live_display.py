"""How far a run is, drawn on a terminal: a few lines that move, above them what is finished and stays."""

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from spark_jobs.runtime.events import Event
from spark_jobs.runtime.figures import Figures

_FRAMES_PER_SECOND = 8
_LONGEST_BAR = 60
_SHORTEST_BAR = 10
# What stands beside a bar: its name, the percentage and the time left.
_BESIDE = 32


class LiveDisplay:
    """Draws the step in progress, bars of run and slice, and figures, until the block is left.

    Args:
        console: A terminal.
        figures: What to draw; read for each frame.
    """

    def __init__(self, console: Console, figures: Figures) -> None:
        self._console, self._figures = console, figures
        self._steps: dict[str, float] = {}
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
            self._print(_last_line(self._figures, self._console.width - len("00:00:00 ")))

    def show(self, event: Event) -> None:
        """Draws a step from now on, or prints what is finished."""
        values, number = event.values, event.values.get("slice")
        if event.name == "step_started":
            if event.text:
                self._steps[event.text] = time.monotonic()
        elif event.name == "step_ended":
            self._steps.pop(values["step"], None)
            if number is not None:
                self._of_slices.setdefault(number, {})[values["step"]] = values["seconds"]
            elif values["outcome"] == "finished":
                self._print(Text(f"{values['step']:<14}{values['seconds']:>8.1f} s"))
        elif event.text:
            steps = self._of_slices.pop(number, {}) if event.name == "slice_committed" and number is not None else {}
            text = " · ".join([event.text, *(f"{step} {seconds:.1f} s" for step, seconds in steps.items())])
            self._print(Text(text, style="yellow" if event.level == "warning" else ""))

    def _print(self, line: Text) -> None:
        at = Text(time.strftime("%H:%M:%S "), style="dim")
        self._console.print(at + line, soft_wrap=True, highlight=False, markup=False)

    def _frame(self) -> RenderableType:
        figures, width = self._figures, self._console.width
        lines: list[RenderableType] = [self._step_line(width)]
        if figures.total:
            length = max(_SHORTEST_BAR, min(_LONGEST_BAR, width - _BESIDE))
            share = figures.done / figures.total
            if figures.slice_tokens and figures.slice_tokens < figures.total:
                within = min(1.0, max(0.0, (figures.done - figures.slice_from) / figures.slice_tokens))
                lines.append(_bar_line(f"slice {figures.slice_number}", within, length, "", width))
            lines.append(_bar_line("run", share, length, _time_left(figures.seconds_left), width))
            lines.append(_fitting(_parts(figures), width - 1, indent="  "))
        return Group(*lines)

    def _step_line(self, width: int) -> RenderableType:
        # Another thread adds and removes steps.
        steps = list(self._steps.items())
        now = time.monotonic()
        told = [f"{name} {now - began:.0f} s" for name, began in steps] or ["…"]
        row = Table.grid(padding=(0, 1))
        row.add_row(self._spinner, _fitting(told, width - 3))
        return row


def _bar_line(name: str, share: float, length: int, left: str, width: int) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    for _ in range(3):
        row.add_column(no_wrap=True)
    percent = f"{share:4.0%}" if share < 1 else "100%"
    room = width - length - 13
    bar = ProgressBar(total=1.0, completed=share, width=length)
    row.add_row(f"  {name:<8}"[:10], bar, _fitting([part for part in (percent, left) if part], room))
    return row


def _fitting(parts: list[str], width: int, indent: str = "") -> Text:
    """Joins as many parts as fit; the first is cut if even that one does not."""
    text = f"{indent}{parts[0]}"
    for part in parts[1:]:
        if len(text) + len(part) + 3 > width:
            break
        text += f" · {part}"
    return Text(text[: max(0, width)], no_wrap=True, overflow="crop")


def _parts(figures: Figures) -> list[str]:
    """Renders figures, the ones that people look for first."""
    parts = [f"{figures.done:,} of about {figures.total:,} tokens"]
    if figures.rate >= 1:
        parts.append(f"{figures.rate:,.0f} tokens/s")
    parts.append(f"{figures.documents:,} of {figures.all_documents:,} documents")
    if figures.failed:
        parts.append(f"{figures.failed:,} texts failed")
    parts.append(f"{figures.chunks:,} chunks")
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


def _last_line(figures: Figures, width: int) -> Text:
    share = figures.done / figures.total
    parts = [f"{share:.0%}", f"{figures.documents:,} documents", f"{figures.chunks:,} chunks"]
    parts += [f"{figures.rate:,.0f} tokens/s", f"{figures.seconds:.0f} s"]
    if figures.failed:
        parts.append(f"{figures.failed:,} texts failed")
    if figures.cost is not None:
        parts.append(f"{figures.cost:,.2f} {figures.currency}")
    length = 20 if width > 60 else 0
    bar = Text("━" * round(share * length), style="green" if share >= 1 else "red")
    return bar + Text(" " * bool(length)) + _fitting(parts, max(width - length - 1, 10))
