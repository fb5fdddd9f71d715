"""Facts to charts: what is drawn, in Vega-Lite, and the rows that it is drawn from. Colors are the page's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import altair as alt

from spark_jobs.page.facts import Calibrated, Evaluated, Lengths, VectorMap

# Which measure of a library's spaces is drawn if there are several.
MEASURE = "nDCG@10"


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Attributes:
        name: Its place in the page.
        title: What it shows.
        note: How to read it; may be empty.
        spec: What is drawn, in Vega-Lite, without data.
        columns: The rows that it is drawn from, column by column.
        words: Of columns that hold places in a list of words instead of the words, that list.
        legend: Names of its colors, in the page's order of colors; empty for a single color.
        is_wide: Whether it takes the page's whole width.
    """

    name: str
    title: str
    note: str
    spec: Mapping[str, Any]
    columns: Mapping[str, Sequence[Any]]
    legend: Sequence[str] = ()
    is_wide: bool = False
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)


def as_chart(
    name: str,
    title: str,
    drawn: alt.Chart | alt.LayerChart | alt.FacetChart,
    columns: Mapping[str, Sequence[Any]],
    note: str = "",
    legend: Sequence[str] = (),
    is_wide: bool = False,
    height: int = 220,
) -> Chart:
    """Makes a chart of what is drawn from the rows `given_rows`; it fills the width that it gets."""
    spec = drawn.properties(width="container", height=height).to_dict()
    return Chart(name, title, note, spec, columns, legend, is_wide)


def given_rows() -> alt.Chart:
    """Begins a chart of the rows that the page has for it."""
    return alt.Chart(alt.NamedData("rows"))


def _line_at(value: int) -> alt.Chart:
    """A dashed line across a chart, at a number of its horizontal axis."""
    rule: alt.Chart = alt.Chart(alt.InlineData(values=[{}])).mark_rule(strokeDash=[4, 3]).encode(x=alt.datum(value))
    return rule


def number_axis(**options: Any) -> alt.Axis:
    """An axis of numbers, each with a unit of its own: 500, 1k, 1.5k."""
    return alt.Axis(tickCount=4, labelExpr="format(datum.value, '.3~s')", **options)


def color_by(names: Sequence[str], field: str) -> alt.Color:
    """Colors by name, in the page's order of colors; the legend is the page's."""
    return alt.Color(f"{field}:N", legend=None, scale=alt.Scale(domain=list(names), range="category"))


def chunk_lengths(lengths: Lengths) -> Chart:
    """Draws how long the chunks are."""
    starts = [place * lengths.width for place in range(len(lengths.counts))]
    reaches = starts[-1] + lengths.width
    # The last bin holds all longer chunks too.
    lasts = [start - 1 for start in starts[1:]] + [max(reaches - 1, lengths.longest)]
    columns: dict[str, Sequence[Any]] = {
        "start": starts,
        "end": [start + lengths.width for start in starts],
        "chunks": list(lengths.counts),
        "range": [f"{start:,} to {end:,}" for start, end in zip(starts, lasts, strict=True)],
    }
    bars = (
        given_rows()
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X(
                "start:Q",
                bin="binned",
                title="tokens of a chunk",
                scale=alt.Scale(nice=False),
                axis=alt.Axis(grid=False),
            ),
            x2="end:Q",
            y=alt.Y("chunks:Q", title="chunks", axis=number_axis()),
            tooltip=[alt.Tooltip("range:N", title="tokens"), alt.Tooltip("chunks:Q", format=",")],
        )
    )
    if lengths.limit is None or lengths.limit > reaches:
        return as_chart("lengths", "Length of chunks", bars, columns)
    note = f"The dashed line is what the model sees: {lengths.limit:,} tokens."
    return as_chart("lengths", "Length of chunks", alt.layer(bars, _line_at(lengths.limit)), columns, note)


def quality_over_time(evaluations: Sequence[Evaluated], space: str) -> Chart | None:
    """Draws one measure of the spaces over time, that of `space` first; None if nothing was measured."""
    measure = MEASURE if any(each.measure == MEASURE for each in evaluations) else ""
    found = [each for each in evaluations if each.measure == (measure or evaluations[0].measure)]
    if not found:
        return None
    files = {each.queries for each in found}
    lines = [each.space if len(files) == 1 else f"{each.space} · {each.queries}" for each in found]
    # More lines than colors cannot be told apart; the table has all of them.
    newest = dict.fromkeys(reversed(lines))
    names = sorted(newest, key=lambda line: line.partition(" · ")[0] != space)[:8]
    kept = [(each, line) for each, line in zip(found, lines, strict=True) if line in names]
    columns: dict[str, Sequence[Any]] = {
        "at": [each.at.isoformat() for each, _ in kept],
        "value": [round(each.value, 6) for each, _ in kept],
        "line": [line for _, line in kept],
        "queries": [f"{each.query_count:,} of {each.queries}" for each, _ in kept],
    }
    drawn = (
        given_rows()
        .mark_line(point={"size": 50, "filled": True}, strokeWidth=2)
        .encode(
            x=alt.X(
                "at:T",
                title=None,
                scale=alt.Scale(type="utc"),
                axis=alt.Axis(grid=False, tickCount=5, labelOverlap=True),
            ),
            y=alt.Y("value:Q", title=found[0].measure, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
            color=color_by(names, "line"),
            tooltip=[
                alt.Tooltip("line:N", title="space"),
                alt.Tooltip("value:Q", title=found[0].measure, format=".4f"),
                alt.Tooltip("queries:N"),
                alt.Tooltip("utcyearmonthdatehoursminutes(at):T", title="at (UTC)", format="%Y-%m-%d %H:%M"),
            ],
        )
    )
    return as_chart("quality", f"{found[0].measure} over time", drawn, columns, legend=names, is_wide=True)


def calibrated(calibration: Calibrated) -> Chart | None:
    """Draws tokens per second by the size of a pass; None if no pass fitted into memory."""
    fitted = [each for each in calibration.results if each.tokens_per_second]
    if not fitted:
        return None
    names = ("token budget", "fixed number of rows")
    columns: dict[str, Sequence[Any]] = {
        # Passes of a fixed number of rows are drawn at their mean tokens, so that both kinds share one axis.
        "size": [
            each.value if each.kind == "tokens" else max(1, round(each.tokens_per_second * each.p50)) for each in fitted
        ],
        "rate": [round(each.tokens_per_second, 1) for each in fitted],
        "kind": [names[each.kind != "tokens"] for each in fitted],
        "tried": [f"{each.value:,} {each.kind}" for each in fitted],
    }
    lines = (
        given_rows()
        .mark_line(point={"size": 40, "filled": True}, strokeWidth=2)
        .encode(
            x=alt.X(
                "size:Q",
                title="tokens of a pass",
                scale=alt.Scale(type="log", base=2),
                axis=number_axis(grid=False, labelOverlap=True),
            ),
            y=alt.Y("rate:Q", title="tokens per second", axis=number_axis(), scale=alt.Scale(zero=True)),
            color=color_by(names, "kind"),
            tooltip=[alt.Tooltip("tried:N", title="pass"), alt.Tooltip("rate:Q", title="tokens/s", format=",.0f")],
        )
    )
    note = f"The dashed line is the recommended budget: {calibration.token_budget:,} tokens."
    title = "Tokens per second, by size of a pass"
    return as_chart(
        "calibration", title, alt.layer(lines, _line_at(calibration.token_budget)), columns, note, names, True
    )


def vector_map(found: VectorMap) -> Chart:
    """Draws the map of a sample of vectors."""
    columns: dict[str, Sequence[Any]] = {
        "x": [round(x, 4) for x, _ in found.points],
        "y": [round(y, 4) for _, y in found.points],
    }
    words: dict[str, Sequence[str]] = {}
    shown = []
    if found.column is not None:
        # As numbers, because a name for each point would be most of the page.
        columns["group"], words = found.groups, {"group": found.labels}
        shown.append(alt.Tooltip("group:N", title=found.column))
    if found.texts:
        columns |= {"id": found.ids, "text": found.texts}
        shown += [alt.Tooltip("id:N", title="document"), alt.Tooltip("text:N", title="text")]
    blank = alt.Axis(labels=False, ticks=False, title=None, domain=False, grid=False)
    size = 16 if len(found.points) > 1_000 else 40
    drawn = (
        given_rows()
        .mark_circle(size=size, opacity=0.6)
        .encode(
            x=alt.X("x:Q", axis=blank, scale=alt.Scale(zero=False, nice=False, padding=10)),
            y=alt.Y("y:Q", axis=blank, scale=alt.Scale(zero=False, nice=False, padding=10)),
            tooltip=shown or alt.value(None),
            **({"color": color_by(found.labels, "group")} if found.column is not None else {}),
        )
    )
    chart = as_chart("map", "", drawn, columns, legend=found.labels, is_wide=True, height=460)
    return replace(chart, words=words)
