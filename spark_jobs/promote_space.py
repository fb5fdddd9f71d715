"""The promotion job: makes another space the one that readers use, if it is complete, sound and good enough.

Start it as `embedlake promote --config F --space NAME`, or in a live session:

    from spark_jobs.promote_space import run
    from spark_jobs.settings import load_settings

    print(run(spark, load_settings("conf/quickstart.yaml"), "next"))
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from schemas.errors import GateError, InputError, ReconciliationError
from schemas.spaces import PROMOTED
from spark_jobs.evaluation.gate import Verdict
from spark_jobs.evaluation.judgements import JudgedQueries, read_judged
from spark_jobs.evaluation.measures import require_measures
from spark_jobs.evaluation.report import Evaluation, record_evaluation, rows_of
from spark_jobs.evaluation.spaces import evaluate_spaces, require_known_documents
from spark_jobs.runtime.command import Config, Debug, LogAs, Overrides, Reason, reported
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.report import render_lines
from spark_jobs.search.queries import read_queries
from spark_jobs.settings.loading import Settings
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.open_space import open_space
from spark_jobs.store.promotion import record_refusal, show_active, switch_active
from spark_jobs.store.readiness import Candidate, compare_ledgers, find_candidate, step_fault
from spark_jobs.store.registry import read_registry
from spark_jobs.store.spaces import has_context, model_of
from spark_jobs.store.tables import delta_session
from spark_jobs.store.verification import verify_rows

SpaceName = Annotated[str, typer.Option("--space", help="The space of the library to promote.")]
Force = Annotated[bool, typer.Option("--force", help="Promote without the gate; give a --reason.")]


@dataclass(frozen=True)
class PromotionReport:
    """What a promotion did.

    Attributes:
        library: The library.
        space: The space that is active now.
        before: The space that was active before; None if it was this one already.
        verdict: What the promotion was decided by; None if nothing had to be decided.
        reason: Why, in the words of a person.
        is_forced: Whether the gate was left out.
    """

    library: str
    space: str
    before: str | None
    verdict: Verdict | None = None
    reason: str | None = None
    is_forced: bool = False

    def __str__(self) -> str:
        """Renders the summary in plain text."""
        if self.before is None:
            return render_lines([("space", f"{self.library}.{self.space} is active already")])
        lines = [("space", f"{self.library}.{self.space} is active now, instead of {self.before}")]
        lines += self.verdict.lines() if self.verdict is not None else []
        if self.is_forced:
            lines.append(("gate", f"left out by --force: {self.reason}"))
        elif self.reason:
            lines.append(("reason", self.reason))
        return render_lines([*lines, ("back", "embedlake rollback")])


def run(
    spark: SparkSession,
    settings: Settings,
    space: str,
    *,
    force: bool = False,
    reason: str | None = None,
    progress: Progress | None = None,
) -> PromotionReport:
    """Makes a space the active one of its library, in one commit; the outcome is recorded either way.

    Args:
        spark: A live session, classic or Connect.
        settings: The whole configuration; `promotion` says what the space must show.
        space: Name of the space.
        force: Whether to leave out the gate, and the question whether the space is in step with the active one.
        reason: Why, in the words of a person; recorded. Needed with `force`.
        progress: Where progress is shown; nowhere by default.

    Returns:
        What was decided and by what; `str` renders the summary.

    Raises:
        InputError: The space does not exist, is not complete, is empty or older than the active one, or a file of
            `promotion` cannot be used.
        ReconciliationError: Rows of the space are faulty.
        GateError: The space covers less, or retrieves worse, than the settings allow; this is recorded.
        RunActiveError: Another process changed the library's spaces meanwhile.
    """
    progress = progress or Progress()
    if force and not (reason or "").strip():
        raise InputError("--force needs a reason, which is recorded. Say why with --reason TEXT.")
    with delta_session(spark):
        with progress.step("check"):
            settings = with_file_system(spark, settings)
            judged = None if force else _judged(spark, settings)
            seen = read_registry(spark, settings)
            if seen.active is not None and seen.active.space == space:
                # A promotion that was killed between its commit and the view is put right.
                show_active(spark, settings)
                return PromotionReport(settings.library, space, None)
            candidate = find_candidate(spark, settings, seen, space)
            verdict = Verdict(settings.promotion, compare_ledgers(candidate.tables, candidate.active_tables))
            fault = None if force else step_fault(candidate, verdict.agreement)
            if fault is not None:
                raise InputError(fault)
        with progress.step("verify"):
            _verify(candidate, f"{settings.library}.{space}")
        if judged is not None:
            with progress.step("evaluate"):
                evaluation = _evaluate(spark, settings, candidate, judged)
                verdict = replace(verdict, evaluation=evaluation)
        with progress.step("promote"):
            faults = [] if force else verdict.faults()
            if faults:
                told = f"space {settings.library}.{space} was not promoted: {'; '.join(faults)}"
                record_refusal(spark, settings, seen, candidate.row, told, verdict.figures())
                raise GateError(f"{told}. Improve it, change the setting, or use --force with a --reason.")
            switch_active(spark, settings, seen, candidate.row, PROMOTED, reason, verdict.figures())
    return PromotionReport(settings.library, space, candidate.active.space, verdict, reason, force)


def _judged(spark: SparkSession, settings: Settings) -> JudgedQueries | None:
    queries, judgements = settings.promotion.queries, settings.promotion.judgements
    if queries is None or judgements is None:
        return None
    require_measures()
    return read_judged(Path(queries), Path(judgements), partial(read_queries, spark))


def _verify(candidate: Candidate, name: str) -> None:
    found = verify_rows(candidate.tables, model_of(candidate.row), has_context(candidate.row))
    if found.findings:
        lines = "".join(f"\n  - {finding}" for finding in found.findings)
        raise ReconciliationError(
            f"space {name} has faults:{lines}\nRun embedlake verify --repair for it, then embedlake embed."
        )


def _evaluate(spark: SparkSession, settings: Settings, candidate: Candidate, judged: JudgedQueries) -> Evaluation:
    spaces = [open_space(spark, settings, row.space) for row in (candidate.row, candidate.active)]
    evaluation = evaluate_spaces(spaces[0], spaces[1], judged, settings.promotion.cutoff)
    require_known_documents(evaluation)
    record_evaluation(spark, settings, rows_of(evaluation))
    return evaluation


def command(
    config: Config,
    space: SpaceName,
    force: Force = False,
    reason: Reason = None,
    overrides: Overrides = None,
    debug: Debug = False,
    log_format: LogAs = "text",
) -> None:
    """Make another space the one that readers use, if it passes the gate."""

    def job(spark: SparkSession, settings: Settings, progress: Progress) -> object:
        return run(spark, settings, space, force=force, reason=reason, progress=progress)

    reported(job, config, overrides, debug, log_format)


if __name__ == "__main__":
    typer.run(command)
