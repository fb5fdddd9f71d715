"""How an export decides, from its log, what to send."""

from dataclasses import replace
from typing import Any

import pytest

from schemas.exports import COMPARISON, FULL, INCREMENTAL
from schemas.runs import FINISHED, STARTED
from spark_jobs.export.plan import ExportEvent, TableVersion, decide, without_feed

NOW = TableVersion(table_id="t1", model_fingerprint="m1", version=9)
DONE = ExportEvent(3, FINISHED, "host:1:a", "t1", "m1", version=7, had_rows=True, rows=20)
BEGUN = replace(DONE, number=4, event=STARTED, version=8, rows=None)


def test_the_first_export_is_full() -> None:
    plan = decide([], NOW, None, full=False)
    assert (plan.mode, plan.why) == (FULL, "the target holds no rows of the space yet")


def test_a_target_that_lost_its_rows_is_exported_in_full() -> None:
    plan = decide([DONE], NOW, None, full=False)
    assert str(plan) == "full: the target holds no rows of the space any more"


def test_full_exports_everything_whatever_is_on_record() -> None:
    assert str(decide([DONE], NOW, 20, full=True)) == "full: asked for by --full"


def test_a_finished_export_of_the_same_table_is_continued() -> None:
    plan = decide([DONE], NOW, 20, full=False)
    assert (plan.mode, plan.since) == (INCREMENTAL, 7)
    assert str(plan) == "incremental: by the change feed since version 7"


def test_an_export_of_this_same_version_is_continued() -> None:
    plan = decide([replace(DONE, version=9)], NOW, 20, full=False)
    assert (plan.mode, plan.since) == (INCREMENTAL, 9)


@pytest.mark.parametrize(
    ("changes", "held", "reason"),
    [
        ({"event": STARTED, "rows": None}, 20, "the last export did not finish"),
        ({"table_id": "t0"}, 20, "the table is another one than the last export read"),
        ({"model_fingerprint": "m0"}, 20, "the last export was of another model's vectors"),
        ({"version": 10}, 20, "the table's version went back"),
        ({}, 19, "the target holds 19 rows, and the last export left 20"),
        ({"rows": 0}, 1, "the target holds 1 rows, and the last export left 0"),
    ],
)
def test_an_export_that_cannot_be_continued_is_compared(changes: dict[str, Any], held: int, reason: str) -> None:
    plan = decide([replace(DONE, **changes)], NOW, held, full=False)
    assert (plan.mode, plan.why, plan.since) == (COMPARISON, reason, None)


def test_rows_without_a_record_are_compared_and_their_runs_not_trusted() -> None:
    plan = decide([], NOW, 20, full=False)
    assert plan.mode == COMPARISON and not plan.trusts_runs
    assert plan.why == "the target holds rows of the space, and no export to it is on record"


@pytest.mark.parametrize(
    ("events", "trusted"),
    [
        # Killed after an export of the same table, or after several that were killed.
        ([BEGUN, DONE], True),
        ([replace(BEGUN, number=5), BEGUN, DONE], True),
        # Killed in the first export of all, to a target without rows.
        ([replace(BEGUN, had_rows=False)], True),
        ([BEGUN, replace(BEGUN, number=1, had_rows=False)], True),
        # Rows were there that came from nobody knows where.
        ([BEGUN], False),
        # Rows of another table may be there still, which may have had runs of the same numbers.
        ([BEGUN, replace(DONE, table_id="t0")], False),
        ([replace(DONE, table_id="t0")], False),
        ([BEGUN, replace(BEGUN, table_id="t0", number=1, had_rows=False)], False),
        ([BEGUN, replace(DONE, model_fingerprint="m0")], False),
        # The table was put back from a copy: its next runs have the numbers of those that were lost.
        ([replace(DONE, version=10)], False),
        ([BEGUN, replace(DONE, version=10)], False),
        # What was before an export of the same table that finished counts no more.
        ([BEGUN, DONE, replace(DONE, number=1, table_id="t0")], True),
    ],
)
def test_runs_are_trusted_only_if_all_rows_came_from_this_table(events: list[ExportEvent], trusted: bool) -> None:
    plan = decide(events, NOW, 21, full=False)
    assert (plan.mode, plan.trusts_runs) == (COMPARISON, trusted)


def test_a_gap_in_the_feed_leads_to_a_comparison_with_its_reason() -> None:
    plan = without_feed(decide([DONE], NOW, 20, full=False), "[DELTA_GONE] no file")
    assert str(plan) == "comparison: the change feed since version 7 cannot be read: [DELTA_GONE] no file"
    assert plan.trusts_runs and plan.since is None
