"""Charts of runs: their rate, their steps, what the model lost, their slices, their cost, and estimates."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from spark_jobs.page.charts import Chart, as_chart, color_by, given_rows, number_axis
from spark_jobs.page.facts import RunFacts, Runs, SliceFacts
from spark_jobs.page.texts import duration
from spark_jobs.settings.sections import CostSettings

_MOST_STEPS = 7
_OTHER_STEPS = "other steps"
# Bars of few runs keep a width that looks like one, and those of many do not touch.
_BAR = alt.ExprRef("max(1, min(24, bandwidth('x') * 0.8))")
_TICK = alt.ExprRef("max(2, min(32, bandwidth('x')))")
_MOST_DOTS = 40
# A run that took so many times longer than 95 of 100 others would leave nothing to see of them.
_LONG = 2.5
_FEW_RUNS = 8


def _run_axis() -> alt.X:
    return alt.X("run:O", title="run", axis=alt.Axis(labelAngle=0, labelOverlap=True, grid=False))


def throughput(runs: Sequence[RunFacts]) -> Chart | None:
    """Draws tokens per second by run; None if no run embedded anything."""
    found = [(run, rate) for run in runs if (rate := run.tokens_per_second) is not None]
    if not found:
        return None
    columns: dict[str, Sequence[Any]] = {
        "run": [run.number for run, _ in found],
        "rate": [round(rate, 1) for _, rate in found],
        "tokens": [run.counts.get("tokens_embedded", 0) for run, _ in found],
    }
    drawn = (
        given_rows()
        .mark_bar(cornerRadiusEnd=2, width=_BAR)
        .encode(
            x=_run_axis(),
            y=alt.Y("rate:Q", title="tokens per second", axis=number_axis()),
            tooltip=[
                "run:O",
                alt.Tooltip("rate:Q", title="tokens/s", format=",.0f"),
                alt.Tooltip("tokens:Q", format=","),
            ],
        )
    )
    return as_chart(
        "throughput", "Tokens per second, by run", drawn, columns, "Of the step that embeds; runs that embedded."
    )


def step_seconds(runs: Sequence[RunFacts]) -> Chart | None:
    """Draws seconds by step and run; None if no run recorded any."""
    if not any(run.total_seconds for run in runs):
        return None
    names = _ranked_steps(runs)
    columns: dict[str, list[Any]] = {"run": [], "step": [], "seconds": [], "order": []}
    for run in runs:
        kept = {step: run.seconds.get(step, 0.0) for step in names if step != _OTHER_STEPS}
        rest = run.total_seconds - sum(kept.values())
        for order, (step, seconds) in enumerate({**kept, _OTHER_STEPS: rest}.items()):
            if round(seconds, 2) > 0:
                for name, value in zip(columns, (run.number, step, round(seconds, 2), order), strict=True):
                    columns[name].append(value)
    scale, note = _without_outliers(runs)
    drawn = (
        given_rows()
        .mark_bar(width=_BAR, clip=True)
        .encode(
            x=_run_axis(),
            y=alt.Y("seconds:Q", title="seconds", axis=number_axis(), scale=scale),
            color=color_by(names, "step"),
            order="order:Q",
            tooltip=["run:O", "step:N", alt.Tooltip("seconds:Q", format=",.1f")],
        )
    )
    return as_chart("steps", "Seconds by step, by run", drawn, columns, note, names, is_wide=True, height=260)


def _ranked_steps(runs: Sequence[RunFacts]) -> list[str]:
    """Lists the steps that took longest, and the others as one, so that there is a color for each."""
    totals: dict[str, float] = {}
    for run in runs:
        for step, seconds in run.seconds.items():
            totals[step] = totals.get(step, 0.0) + seconds
    ranked = sorted(totals, key=lambda step: -totals[step])
    return ranked if len(ranked) <= _MOST_STEPS + 1 else [*ranked[:_MOST_STEPS], _OTHER_STEPS]


def _without_outliers(runs: Sequence[RunFacts], per_second: float = 1.0) -> tuple[alt.Scale, str]:
    """Cuts off a few runs that take so much longer than all others that these would be flat, and says which."""
    seconds = sorted(run.total_seconds for run in runs)
    usual = seconds[(len(seconds) - 1) * 95 // 100]
    long = [run for run in runs if run.total_seconds > _LONG * usual]
    if len(runs) < _FEW_RUNS or not long or not usual:
        return alt.Scale(zero=True), ""
    named = ", ".join(f"{run.number} ({duration(run.total_seconds)})" for run in long[-3:])
    more = f" and {len(long) - 3} more" if len(long) > 3 else ""
    top = 1.1 * max(run.total_seconds for run in runs if run not in long) * per_second
    return alt.Scale(domain=[0, top], nice=False), f"Higher than the chart: run {named}{more}."


def padding_and_waiting(runs: Sequence[RunFacts]) -> Chart | None:
    """Draws how much of the model's work and time was lost; None if no run embedded anything."""
    names = ("padding", "waiting")
    columns: dict[str, list[Any]] = {"run": [], "what": [], "share": []}
    for run in runs:
        for name, share in zip(names, (run.padding, run.waited), strict=True):
            if share is not None:
                columns["run"].append(run.number)
                columns["what"].append(name)
                columns["share"].append(round(share, 4))
    if not columns["run"]:
        return None
    drawn = (
        given_rows()
        .mark_line(point=len(runs) <= _MOST_DOTS, strokeWidth=2 if len(runs) <= _MOST_DOTS else 1.5)
        .encode(
            x=_run_axis(),
            y=alt.Y("share:Q", title=None, axis=alt.Axis(tickCount=4, format="%"), scale=alt.Scale(domainMin=0)),
            color=color_by(names, "what"),
            tooltip=["run:O", alt.Tooltip("what:N", title="of"), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    note = "Padding: of the computed tokens. Waiting: of the model's time, for texts to arrive."
    return as_chart("padding", "Padding and waiting of the model", drawn, columns, note, names)


def slice_rates(run: int, slices: Sequence[SliceFacts]) -> Chart | None:
    """Draws tokens per second by slice of one run; None if there are none."""
    found = [each for each in slices if each.tokens and each.seconds > 0]
    if not found:
        return None
    columns: dict[str, Sequence[Any]] = {
        "slice": [each.number for each in found],
        "rate": [round(each.tokens / each.seconds, 1) for each in found],
        "tokens": [each.tokens for each in found],
        "seconds": [round(each.seconds, 1) for each in found],
    }
    drawn = (
        given_rows()
        .mark_line(point={"size": 30, "filled": True}, strokeWidth=2)
        .encode(
            x=alt.X(
                "slice:Q",
                title="slice",
                axis=alt.Axis(tickMinStep=1, grid=False, format="d"),
                scale=alt.Scale(nice=False, zero=False, padding=12),
            ),
            y=alt.Y("rate:Q", title="tokens per second", axis=number_axis(), scale=alt.Scale(zero=True)),
            tooltip=[
                "slice:Q",
                alt.Tooltip("rate:Q", title="tokens/s", format=",.0f"),
                alt.Tooltip("tokens:Q", format=","),
                alt.Tooltip("seconds:Q", format=",.1f"),
            ],
        )
    )
    note = "From one commit to the next, everything included."
    return as_chart("slices", f"Tokens per second, by slice of run {run}", drawn, columns, note)


def run_costs(runs: Sequence[RunFacts], cost: CostSettings) -> Chart | None:
    """Draws what each run cost; None if the settings do not say what an hour costs."""
    if cost.per_hour is None or not any(run.total_seconds for run in runs):
        return None
    columns: dict[str, Sequence[Any]] = {
        "run": [run.number for run in runs],
        "cost": [round(run.cost(cost) or 0.0, 6) for run in runs],
        "hours": [round(run.total_seconds / 3600, 4) for run in runs],
    }
    scale, cut = _without_outliers(runs, cost.per_hour / 3600)
    drawn = (
        given_rows()
        .mark_bar(width=_BAR, clip=True)
        .encode(
            x=_run_axis(),
            y=alt.Y("cost:Q", title=cost.currency, axis=alt.Axis(tickCount=4), scale=scale),
            tooltip=[
                "run:O",
                alt.Tooltip("cost:Q", title=cost.currency, format=",.4~f"),
                alt.Tooltip("hours:Q", format=",.3~f"),
            ],
        )
    )
    note = f"Wall-clock time, at {cost.per_hour:g} {cost.currency} an hour. {cut}".strip()
    return as_chart("costs", "Cost by run", drawn, columns, note)


def estimates(runs: Runs, of: str) -> Chart | None:
    """Draws what was estimated of each run beside what it became; None without an estimate. `of`: tokens or seconds."""
    found = [run for run in runs.shown if f"estimated_{of}" in run.counts]
    if not found:
        return None
    embedded = [run.counts.get("tokens_embedded", 0) for run in found]
    actual = embedded if of == "tokens" else [round(run.total_seconds, 1) for run in found]
    names = ("actual", "estimate")
    columns: dict[str, Sequence[Any]] = {
        "run": [run.number for run in found],
        "estimate": [run.counts[f"estimated_{of}"] for run in found],
        "actual": actual,
        # What each mark is, so that its color comes from the page's order of colors.
        **{f"is {name}": [name] * len(found) for name in names},
    }
    tooltip = ["run:O", alt.Tooltip("estimate:Q", format=",.0f"), alt.Tooltip("actual:Q", format=",.0f")]
    y = alt.Y("actual:Q", title=of, axis=number_axis())
    bars = given_rows().mark_bar(width=_BAR)
    bars = bars.encode(x=_run_axis(), y=y, color=color_by(names, "is actual"), tooltip=tooltip)
    ticks = given_rows().mark_tick(thickness=3, size=_TICK)
    ticks = ticks.encode(x=_run_axis(), y="estimate:Q", color=color_by(names, "is estimate"), tooltip=tooltip)
    title = f"{of.capitalize()}: estimate and what it became"
    return as_chart(f"estimated-{of}", title, alt.layer(bars, ticks), columns, legend=names)
