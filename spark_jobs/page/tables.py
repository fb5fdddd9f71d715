"""Facts to the texts of the page: figures, bars and tables, as people read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.filesize import decimal

from schemas.ledger import EMBEDDED, EMPTY, QUARANTINED
from schemas.plan import CHANGE_WORDS, CHANGES, UNCHANGED
from schemas.reasons import REASONS
from spark_jobs.page.charts import MEASURE
from spark_jobs.page.facts import Calibrated, Contents, Evaluated, Lengths, PageFacts, RunFacts, SpaceChange
from spark_jobs.page.texts import duration, instant, money, percent, short
from spark_jobs.settings.sections import CostSettings
from spark_jobs.store.space_facts import SpaceFacts, chunking_text

_RUNS_LISTED = 20
_EVALUATIONS_LISTED = 40
_GOOD, _BAD = "good", "bad"
# Below and above these, the number has the color of something to look at.
_LITTLE_COVERAGE, _MUCH_TRUNCATED = 0.95, 0.01
_IN_STEP = "in step"


@dataclass(frozen=True)
class Figure:
    """One of the large numbers at the top."""

    label: str
    value: str
    note: str
    tone: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Bar:
    """One line of a list of shares; `color` is a number in the page's order of colors."""

    label: str
    count: str
    share: float
    text: str
    color: int = 1
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table; `kind` is `number`, `text` or `extra`, which small screens leave out."""

    name: str
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """A table: columns, and rows of cells."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    note: str = ""


def figures(facts: PageFacts) -> list[Figure]:
    """Returns the numbers that are read first."""
    found = [_coverage(facts), _documents(facts)]
    contents = facts.contents
    if contents.lengths is not None:
        note = f"{short(contents.tokens)} tokens, half of the chunks have up to {contents.lengths.median:,}"
        found.append(Figure("Chunks", short(contents.chunks), note))
        cut = f"{contents.truncated:,} of {contents.chunks:,} chunks were longer than the model sees"
        tone = _BAD if contents.truncated > _MUCH_TRUNCATED * contents.chunks else ""
        found.append(Figure("Truncated", percent(contents.truncated, contents.chunks), cut, tone))
    found += [*_throughput(facts), *_quality(facts), *_cost(facts)]
    return found


def _coverage(facts: PageFacts) -> Figure:
    coverage = facts.coverage
    if not coverage.documents:
        return Figure("Coverage", "unknown", "The source could not be compared", _BAD)
    if not coverage.of_source:
        return Figure("Coverage", "–", "The source has no documents")
    note = f"{coverage.in_step:,} of {coverage.of_source:,} documents of the source are in step"
    share = coverage.in_step / coverage.of_source
    tone = _GOOD if share == 1 else _BAD if share < _LITTLE_COVERAGE else ""
    return Figure("Coverage", percent(coverage.in_step, coverage.of_source), note, tone)


def _documents(facts: PageFacts) -> Figure:
    statuses = facts.contents.statuses
    note = f"documents; {statuses.get(QUARANTINED, 0):,} quarantined, {statuses.get(EMPTY, 0):,} empty"
    return Figure("Embedded", short(statuses.get(EMBEDDED, 0)), note)


def _throughput(facts: PageFacts) -> list[Figure]:
    for run in reversed(facts.runs.shown):
        if (rate := run.tokens_per_second) is not None:
            note = f"in run {run.number}, the last one that embedded"
            return [Figure("Tokens per second", short(rate), note)]
    return []


def _quality(facts: PageFacts) -> list[Figure]:
    for each in reversed(facts.evaluations):
        if each.space == facts.space and each.measure == MEASURE:
            return [Figure(each.measure, f"{each.value:.3f}", f"{each.query_count:,} queries, {each.at:%Y-%m-%d}")]
    return []


def _cost(facts: PageFacts) -> list[Figure]:
    amounts = [amount for run in facts.runs.shown if (amount := run.cost(facts.cost)) is not None]
    if not amounts:
        return []
    runs = "one run" if len(amounts) == 1 else f"the last {len(amounts):,} runs"
    return [Figure("Cost", money(sum(amounts)), f"of {runs}", unit=facts.cost.currency)]


def backlog_bars(facts: PageFacts) -> list[Bar]:
    """Lists the documents of the source by what a run would do with them, and those that it would remove."""
    documents, whole = facts.coverage.documents, facts.coverage.of_source
    order = (UNCHANGED, *CHANGES)
    named = [(_IN_STEP if change == UNCHANGED else CHANGE_WORDS[change], documents.get(change, 0)) for change in order]
    kept = [(name, count) for name, count in named if count or name == _IN_STEP]
    return [
        Bar(
            name,
            f"{count:,}",
            min(1.0, count / whole) if whole else 0.0,
            percent(count, whole),
            1 if name == _IN_STEP else 2,
        )
        for name, count in kept
        if documents
    ]


def status_bars(statuses: Mapping[str, int]) -> list[Bar]:
    """Lists documents by status."""
    whole = sum(statuses.values())
    colors = {EMBEDDED: 1, EMPTY: 8, QUARANTINED: 2}
    return [
        Bar(
            status,
            f"{statuses.get(status, 0):,}",
            statuses.get(status, 0) / whole,
            percent(statuses.get(status, 0), whole),
            color,
        )
        for status, color in colors.items()
        if whole
    ]


def reason_bars(reasons: Mapping[str, int]) -> list[Bar]:
    """Lists quarantined documents by reason, the most frequent first."""
    whole = sum(reasons.values())
    ranked = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    return [
        Bar(reason, f"{count:,}", count / whole, percent(count, whole), 2, REASONS.get(reason, ""))
        for reason, count in ranked
    ]


def chunk_bars(contents: Contents, lengths: Lengths) -> list[Bar]:
    """Lists how many chunks the model saw whole, and how long they are."""
    whole, cut = contents.chunks, contents.truncated
    long = (("median", lengths.median), ("95th percentile", lengths.p95), ("longest", lengths.longest))
    return [
        Bar("seen whole", f"{whole - cut:,}", (whole - cut) / whole, percent(whole - cut, whole)),
        Bar("truncated", f"{cut:,}", cut / whole, percent(cut, whole), 2),
        *(Bar(name, f"{tokens:,}", tokens / max(1, lengths.longest), "tokens", 8) for name, tokens in long),
    ]


def _filled(columns: Sequence[Column], rows: Sequence[Sequence[str]], note: str = "") -> Table:
    """Makes a table of the columns that have a text in any row."""
    kept = [place for place, _ in enumerate(columns) if any(row[place] for row in rows)]
    return Table([columns[place] for place in kept], [[row[place] for place in kept] for row in rows], note)


def run_table(runs: Sequence[RunFacts], total: int, cost: CostSettings) -> Table:
    """Lists the last runs, the newest first."""
    columns = [
        Column("run", "number"),
        Column("end"),
        Column("at (UTC)"),
        Column("changed", "number extra"),
        Column("chunks", "number extra"),
        Column("tokens/s", "number"),
        Column("padding", "number extra"),
        Column("waited", "number extra"),
        Column("slices", "number extra"),
        Column("time", "number"),
        *([Column(cost.currency, "number extra")] if cost.per_hour is not None else []),
        Column("message", "extra wide"),
    ]
    rows = [_run_cells(run, cost) for run in list(reversed(runs))[:_RUNS_LISTED]]
    note = f"The last {len(rows):,} of {total:,} runs." if total > len(rows) else ""
    return _filled(columns, rows, note)


def _run_cells(run: RunFacts, cost: CostSettings) -> list[str]:
    changed = sum(run.counts.get(change, 0) for change in CHANGES) if CHANGES[0] in run.counts else None
    rate, amount = run.tokens_per_second, run.cost(cost)
    return [
        str(run.number),
        run.event,
        instant(run.at),
        "" if changed is None else f"{changed:,}",
        f"{run.counts.get('chunks', 0):,}",
        "" if rate is None else short(rate),
        "" if run.padding is None else f"{run.padding:.1%}",
        "" if run.waited is None else f"{run.waited:.0%}",
        f"{run.slices:,}",
        duration(run.total_seconds),
        *([money(amount)] if amount is not None else []),
        run.message,
    ]


def space_table(spaces: Sequence[SpaceFacts]) -> Table:
    """Lists the spaces of the library."""
    columns = [
        Column("space"),
        Column("state"),
        Column("model", "wide"),
        Column("vectors", "extra"),
        Column("chunking", "extra"),
        Column("documents", "number"),
        Column("chunks", "number"),
        Column("size", "number extra"),
        Column("last finished (UTC)", "extra"),
        Column(MEASURE, "number"),
    ]
    rows = [
        [
            each.space,
            each.state,
            each.model.rstrip("/").rpartition("/")[2],
            f"{each.dimension} × {each.precision}",
            chunking_text(each.chunking),
            f"{each.documents:,}",
            f"{each.chunks:,}",
            decimal(each.bytes),
            "" if each.finished_at is None else instant(each.finished_at),
            "" if each.quality is None else f"{each.quality.value:.3f}",
        ]
        for each in spaces
    ]
    return _filled(columns, rows)


def evaluation_table(evaluations: Sequence[Evaluated]) -> Table:
    """Lists the newest value of each measure, by space and file of queries."""
    newest = {(each.space, each.queries, each.measure): each for each in evaluations}
    ranked = sorted(newest.values(), key=lambda each: (each.space, each.queries, each.measure))
    columns = [
        Column("space"),
        Column("queries", "extra"),
        Column("number", "number extra"),
        Column("measure"),
        Column("value", "number"),
        Column("against", "extra"),
        Column("difference", "number extra"),
        Column("at (UTC)"),
    ]
    rows = [
        [
            each.space,
            each.queries,
            f"{each.query_count:,}",
            each.measure,
            f"{each.value:.4f}",
            each.against or "",
            _difference(each),
            instant(each.at),
        ]
        for each in ranked[:_EVALUATIONS_LISTED]
    ]
    note = f"The first {len(rows):,} of {len(ranked):,} figures." if len(ranked) > len(rows) else ""
    return _filled(columns, rows, note)


def _difference(each: Evaluated) -> str:
    if each.difference is None:
        return ""
    interval = f" [{each.low:+.4f}, {each.high:+.4f}]" if each.low is not None and each.high is not None else ""
    return f"{each.difference:+.4f}{interval}"


def change_table(changes: Sequence[SpaceChange]) -> Table:
    """Lists the last decisions about the library's spaces, and what each was decided by."""
    columns = [
        Column("at (UTC)"),
        Column("space"),
        Column("decision"),
        Column("figures", "wide"),
        Column("reason", "extra wide"),
    ]
    rows = [
        [
            instant(each.at),
            each.space,
            each.change,
            " · ".join(f"{name} {value:.4g}" for name, value in each.figures.items()),
            each.reason,
        ]
        for each in changes
    ]
    return _filled(columns, rows)


def calibration_table(calibration: Calibrated) -> Table:
    """Lists the sizes of passes that were tried."""
    columns = [
        Column("pass"),
        Column("texts/s", "number"),
        Column("tokens/s", "number"),
        Column("padding", "number extra"),
        Column("p50 ms", "number extra"),
        Column("p99 ms", "number extra"),
        Column("peak MiB", "number"),
    ]
    rows = [
        [
            f"{each.value:,} {each.kind}",
            f"{each.texts_per_second:,.0f}" if each.texts_per_second else "out of memory",
            f"{each.tokens_per_second:,.0f}",
            f"{each.padding:.1%}",
            f"{1000 * each.p50:,.1f}",
            f"{1000 * each.p99:,.1f}",
            f"{each.peak_mebibytes:,.0f}",
        ]
        for each in calibration.results[:_EVALUATIONS_LISTED]
    ]
    return _filled(columns, rows)
