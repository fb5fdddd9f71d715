"""Facts to one HTML file that needs no network: sections, their charts and tables, and the policy of the page."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import altair as alt
import jinja2
import vl_convert

from schemas.runs import FAILED, FINISHED, STOPPED
from schemas.spaces import ACTIVE, BUILDING, REFUSED
from spark_jobs.page import charts, run_charts, tables
from spark_jobs.page.charts import Chart
from spark_jobs.page.facts import PageFacts
from spark_jobs.page.tables import Bar, Table
from spark_jobs.page.texts import instant
from udfs import __version__

# Words of tables that are shown as marks, and how.
_MARKS = {
    **{ACTIVE: "good", FINISHED: "good", BUILDING: "bad", FAILED: "bad", STOPPED: "bad"},
    **{REFUSED: "bad", "unfinished": "bad", "ready": "", "retired": "", "promoted": "good"},
}


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    name: str
    title: str
    text: str = ""
    warnings: Sequence[str] = ()
    bars: Sequence[tuple[str, Sequence[Bar]]] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[tuple[str, Table]] = ()


def render_page(facts: PageFacts) -> str:
    """Renders the page of a report.

    Args:
        facts: What it shows.

    Returns:
        HTML that loads nothing, and whose policy lets it load nothing.
    """
    sections = [section for section in _sections(facts) if section is not None]
    drawn = [chart for section in sections for chart in section.charts]
    scripts = [_vega(), _asset("page.js")] if drawn else []
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_asset("page.html")).render(
        facts=facts,
        space=facts.of_space,
        about=_about(facts),
        at=instant(facts.at),
        figures=tables.figures(facts),
        sections=[_evened(section) for section in sections],
        marks=_MARKS,
        style=_asset("page.css"),
        scripts=scripts,
        policy=_policy(scripts),
        data=embedded_json([_for_script(chart) for chart in drawn]) if drawn else "",
        version=__version__,
    )


def _evened(section: Section) -> Section:
    """Gives the last chart the whole width if it would stand alone in its row."""
    halves = [chart for chart in section.charts if not chart.is_wide]
    if len(halves) % 2 == 0 or section.bars:
        return section
    drawn = [replace(chart, is_wide=True) if chart is halves[-1] else chart for chart in section.charts]
    return replace(section, charts=drawn)


def embedded_json(values: object) -> str:
    """Renders values as JSON that a script element can hold: no text in them can end the element or begin another."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _for_script(chart: Chart) -> Mapping[str, Any]:
    return {"name": chart.name, "spec": chart.spec, "columns": chart.columns, "words": chart.words}


def _asset(name: str) -> str:
    # Not by a path, because the package may lie in a zip.
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    # Of the version of Vega-Lite that the charts are written in.
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version))


def _policy(scripts: Sequence[str]) -> str:
    """Allows the page's own scripts by their hashes, inline styles, and nothing that is loaded."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _about(facts: PageFacts) -> list[str]:
    space = facts.of_space
    if space is None:
        return ["No run has written to this space yet"]
    parts = [space.model.rstrip("/").rpartition("/")[2], f"{space.dimension} numbers, {space.precision}"]
    rule = space.chunking
    whole = rule["method"] == "none"
    parts.append("whole documents" if whole else f"chunks of {rule['min_tokens']} to {rule['max_tokens']} tokens")
    if space.finished_at is not None:
        parts.append(f"last finished {instant(space.finished_at)} UTC")
    return parts


def _sections(facts: PageFacts) -> list[Section | None]:
    return [
        _documents(facts),
        _chunks(facts),
        _map(facts),
        _runs(facts),
        _estimates(facts),
        _spaces(facts),
        _calibration(facts),
    ]


def _documents(facts: PageFacts) -> Section:
    coverage, contents = facts.coverage, facts.contents
    version = f" at version {coverage.version}" if coverage.version is not None else ""
    text = f"The source{version}, compared with the space as a run would do it now." if coverage.documents else ""
    warnings = [f"A run would stop here: {fault}" for fault in coverage.faults]
    bars = [
        ("Source", tables.backlog_bars(facts)),
        ("Documents by status", tables.status_bars(contents.statuses)),
        ("Quarantine by reason", tables.reason_bars(contents.reasons)),
    ]
    return Section(
        "documents", "Documents", f"{text} {coverage.note}".strip(), warnings, [each for each in bars if each[1]]
    )


def _chunks(facts: PageFacts) -> Section | None:
    lengths = facts.contents.lengths
    if lengths is None:
        return None
    bars = [("Truncation and length", tables.chunk_bars(facts.contents, lengths))]
    return Section("chunks", "Chunks", bars=bars, charts=[charts.chunk_lengths(lengths)])


def _map(facts: PageFacts) -> Section | None:
    found = facts.map
    if found is None:
        return None
    number = len(found.points)
    sample = f"{number:,} of {found.total:,} vectors" if number < found.total else f"All {number:,} vectors"
    colors = f", colored by {found.column}" if found.column is not None else ""
    text = (
        f"{sample} in the two directions in which they differ most{colors}. These show {found.explained:.0%} of their "
        "variance, so vectors that are near each other here need not be near."
    )
    return Section("map", "Map of vectors", text, charts=[charts.vector_map(found)])


def _runs(facts: PageFacts) -> Section | None:
    runs = facts.runs
    if not runs.shown:
        return None
    drawn = [
        run_charts.step_seconds(runs.shown),
        run_charts.throughput(runs.shown),
        run_charts.padding_and_waiting(runs.shown),
        run_charts.slice_rates(runs.sliced, runs.slices) if runs.sliced is not None else None,
        run_charts.run_costs(runs.shown, facts.cost),
    ]
    text = f"The last {len(runs.shown):,} of {runs.total:,} runs." if runs.total > len(runs.shown) else ""
    listed = [("Runs", tables.run_table(runs.shown, runs.total, facts.cost))]
    return Section("runs", "Runs", text, charts=[each for each in drawn if each is not None], tables=listed)


def _estimates(facts: PageFacts) -> Section | None:
    drawn = [each for of in ("tokens", "seconds") if (each := run_charts.estimates(facts.runs, of)) is not None]
    return (
        Section("estimates", "Estimates", "What was estimated of a run, and what it became.", charts=drawn)
        if drawn
        else None
    )


def _spaces(facts: PageFacts) -> Section | None:
    if not facts.spaces:
        return None
    listed = [("Spaces of the library", tables.space_table(facts.spaces))]
    drawn = []
    if facts.evaluations:
        drawn.append(charts.quality_over_time(facts.evaluations, facts.space))
        listed.append(("Newest evaluations", tables.evaluation_table(facts.evaluations)))
    if facts.changes:
        listed.append(("Decisions", tables.change_table(facts.changes)))
    return Section("spaces", "Spaces and quality", charts=[each for each in drawn if each is not None], tables=listed)


def _calibration(facts: PageFacts) -> Section | None:
    found = facts.calibration
    if found is None:
        return None
    text = f"{found.device}, {found.dtype}. Recommended: inference.token_budget {found.token_budget:,} ({found.why})."
    drawn = charts.calibrated(found)
    listed = [("Sizes of passes", tables.calibration_table(found))]
    return Section("calibration", "Calibration", text, charts=[drawn] if drawn is not None else [], tables=listed)
