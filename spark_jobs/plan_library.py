"""The plan job: what the next run of a space would do, what it would take and what it would cost. It writes nothing.

Start it as `embedlake plan --config F`, or in a live session:

    from spark_jobs.plan_library import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml")))
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from schemas.errors import InputError
from schemas.plan import CHANGE_WORDS
from spark_jobs.embedding.outlook import Outlook, look_ahead
from spark_jobs.embedding.source_reading import SourceReading, shared_reading
from spark_jobs.runtime.command import AsJson, Config, Debug, LogAs, Overrides, ended, show, watched_session
from spark_jobs.runtime.json_text import json_text
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.report import render_lines
from spark_jobs.settings.loading import Settings, load_spaces
from spark_jobs.store.tables import delta_session

WORK_TO_DO = 10
_ID_CHARACTERS = 60

AllowRemovals = Annotated[
    bool, typer.Option("--allow-removals", help="Plan a run that may remove more than run.max_removed_fraction.")
]
RetryQuarantined = Annotated[
    bool, typer.Option("--retry-quarantined", help="Plan a run that tries quarantined documents again.")
]
Rate = Annotated[
    float | None,
    typer.Option("--tokens-per-second", min=1, help="Reckon with this rate instead of that of the last runs."),
]
DetailedExitCode = Annotated[
    bool, typer.Option("--detailed-exitcode", help="Exit with 10 if there is work to do, with 0 if there is none.")
]


@dataclass(frozen=True)
class PlanReport:
    """What the next run would do; print it to read it.

    Attributes:
        outlook: The facts.
    """

    outlook: Outlook

    def __str__(self) -> str:
        """Renders the plan in plain text."""
        return render_lines(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the plan as pairs of label and text."""
        plan = self.outlook
        version = "without versions" if plan.source_version is None else f"version {plan.source_version}"
        documents = " · ".join(f"{plan.documents[change]:,} {words}" for change, words in CHANGE_WORDS.items())
        lines = [
            ("space", f"{plan.library}.{plan.space}; nothing was written"),
            ("source", f"{version}; {plan.how}"),
            *([("files", plan.files)] if plan.files else []),
            ("documents", documents),
            *(("such as", f"{CHANGE_WORDS[name]}: {_shown(ids)}") for name, ids in plan.examples.items()),
            *_effort(plan),
        ]
        if plan.is_unfinished:
            note = "the last run has not finished; if it is not at work, the next one goes on from what it committed"
            lines.append(("note", note))
        return lines + [("fault", f"a run would stop here: {fault}") for fault in plan.faults]

    def values(self) -> dict[str, object]:
        """Returns the plan as JSON has it."""
        return {**asdict(self.outlook), "has_work": self.outlook.has_work}


def _effort(plan: Outlook) -> list[tuple[str, str]]:
    """Renders what a run takes; empty if it has nothing to do."""
    expected = plan.forecast
    if not plan.slices:
        return [("work", "nothing to do")]
    tokens = f"about {expected.embedded:,} to embed · about {expected.reused:,} reused{_within(expected.token_error)}"
    commits = "1 commit, held in memory" if plan.is_held else f"about {plan.slices:,} slices"
    lines = [("tokens", tokens), ("chunks", f"about {expected.chunks:,} · {commits}")]
    if expected.seconds is None:
        remedy = "Give a rate by --tokens-per-second, or run once."
        return [*lines, ("time", f"unknown, because no run of this space has embedded anything yet. {remedy}")]
    at = f" at {expected.tokens_per_second:,.0f} tokens/s" if expected.tokens_per_second else ""
    by = f", by {expected.runs:,} past runs on {expected.worker}" if expected.worker else ""
    lines.append(
        ("time", f"about {expected.seconds:,.0f} s{at} with {plan.slots:,} slots{by}{_within(expected.second_error)}")
    )
    if plan.price is not None:
        lines.append(("cost", f"about {plan.price:,.2f} {plan.currency}"))
    if plan.capped_tokens is not None:
        lines.append(("cap", f"{plan.caps} ends the run after about {plan.capped_tokens:,} tokens"))
    return lines


def _within(error: float | None) -> str:
    return "" if error is None else f" (past runs were {error:.0%} off)"


def _shown(ids: Sequence[str]) -> str:
    # As JSON, because an id may hold what a terminal obeys.
    return ", ".join(json.dumps(name[:_ID_CHARACTERS]) for name in ids)


def run(
    spark: SparkSession,
    settings: Settings,
    *,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    tokens_per_second: float | None = None,
    progress: Progress | None = None,
    reading: SourceReading | None = None,
) -> PlanReport:
    """Finds out what the next run would do, without writing anything or loading the model.

    Documents are compared as a run does it. Tokens are estimated from the characters of their texts, by what past runs
    of the space have counted; time by how long these took on the same kind of worker.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration.
        allow_removals: Whether the run may remove more documents than `run.max_removed_fraction`.
        retry_quarantined: Whether it tries quarantined documents again.
        tokens_per_second: Rate of the step that embeds; None for that of the past runs.
        progress: Where progress is shown; nowhere by default.
        reading: What the plans of several spaces share of their source.

    Returns:
        The plan; print it to read it.

    Raises:
        InputError: Settings or input are invalid, as for a run.
        SourceError: The source's columns or history do not fit.
    """
    with delta_session(spark):
        outlook = look_ahead(
            spark,
            settings,
            allow_removals=allow_removals,
            retry_quarantined=retry_quarantined,
            tokens_per_second=tokens_per_second,
            progress=progress,
            reading=reading,
        )
    return PlanReport(outlook)


def command(
    config: Config,
    allow_removals: AllowRemovals = False,
    retry_quarantined: RetryQuarantined = False,
    tokens_per_second: Rate = None,
    detailed_exitcode: DetailedExitCode = False,
    as_json: AsJson = False,
    overrides: Overrides = None,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Show what the next run would do, take and cost; write nothing."""

    def work() -> None:
        spaces = load_spaces(config, overrides)
        plans = []
        with watched_session(spaces[0], debug) as (spark, progress), shared_reading(len(spaces) > 1) as reading:
            for settings in spaces:
                plans.append(
                    run(
                        spark,
                        settings,
                        allow_removals=allow_removals,
                        retry_quarantined=retry_quarantined,
                        tokens_per_second=tokens_per_second,
                        progress=progress,
                        reading=reading,
                    )
                )
        if as_json:
            show(json_text([plan.values() for plan in plans] if len(plans) > 1 else plans[0].values(), indent=1))
        else:
            show("\n\n".join(map(str, plans)))
        faults = [fault for plan in plans for fault in plan.outlook.faults]
        if faults:
            raise InputError(faults)
        if detailed_exitcode and any(plan.outlook.has_work for plan in plans):
            raise SystemExit(WORK_TO_DO)

    ended(work, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
