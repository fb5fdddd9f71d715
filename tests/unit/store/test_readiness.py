"""Which of two spaces is newer, and what a registry says of its library."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import Row

from spark_jobs.store.readiness import Candidate, LedgerAgreement, lag_of, step_fault
from spark_jobs.store.registry import Registry

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def finished(version: int | None, source: str | None = "t1 c", hours: float = 0) -> Row:
    return Row(source_version=version, source_id=source, event_time=NOON + timedelta(hours=hours))


def candidate(mine: Row, theirs: Row | None) -> Candidate:
    tables: Any = None
    return Candidate(Row(space="next"), tables, mine, Row(space="main"), tables, theirs)


@pytest.mark.parametrize(
    ("mine", "theirs", "behind", "fault"),
    [
        # The same versioned source: versions decide, whatever the clock says.
        (finished(5), finished(5, hours=9), 0, None),
        (finished(6), finished(5, hours=9), 3, None),
        (finished(4, hours=9), finished(5), 3, "space next has version 4 of the source, and the active space main has"),
        # Another commit of the same table is the same source.
        (finished(5, "t1 d"), finished(5, "t1 c"), 0, None),
        # Sources without versions, or two of them: equal documents are in step, else the later one is newer.
        (finished(None, None), finished(None, None, 9), 0, None),
        (
            finished(None, None),
            finished(None, None, 9),
            3,
            "space next is older than the active space main: 3 documents",
        ),
        (finished(None, None, 9), finished(None, None), 3, None),
        (finished(1, "t2 c"), finished(5, "t1 c", 9), 0, None),
        (finished(9, "t2 c"), finished(5, "t1 c", 9), 3, "space next is older"),
        # The active space has never been finished: there is nothing to be behind of.
        (finished(1), None, 3, None),
    ],
)
def test_an_older_space_is_told_from_a_newer_one(mine: Row, theirs: Row | None, behind: int, fault: str | None) -> None:
    found = step_fault(candidate(mine, theirs), LedgerAgreement(10, 10, behind))
    assert (found is None) == (fault is None)
    assert found is None or fault is None or found.startswith(fault)
    assert found is None or found.endswith("Run embedlake embed for space next first.")


def test_how_far_a_space_is_behind_is_said_in_documents_and_versions() -> None:
    told = [
        lag_of(candidate(finished(*mine), finished(5)), LedgerAgreement(10, 9, behind))
        for mine, behind in (((5,), 0), ((4,), 1200), ((None, None), 2))
    ]
    assert told == [
        "not behind: it has the same documents",
        "1,200 documents differ from those of main; source version 4 instead of 5",
        "2 documents differ from those of main",
    ]


def row(space: str, state: str, last_number: int | None = 1, active: bool = False) -> Row:
    return Row(space=space, state=state, active=active, last_number=last_number)


def test_dropped_spaces_count_only_for_numbers_and_names() -> None:
    rows = [row("main", "active", 4, True), row("old", "dropped", 7), row("next", "ready", 5)]
    registry = Registry(4, rows, "old")
    assert [each.space for each in registry.spaces] == ["main", "next"]
    assert (registry.number, registry.was_dropped, registry.row, registry.find("old")) == (7, True, None, None)
    assert registry.active is not None and registry.active.space == "main"
    empty = Registry(None, (), "main")
    assert (empty.number, empty.was_dropped, empty.row, empty.active) == (0, False, None, None)


def test_a_store_of_an_earlier_format_has_one_active_space_and_no_numbers() -> None:
    registry = Registry(3, [row("main", "ready", 0, True), row("other", "ready", 0)], "other")
    assert registry.active is not None and registry.active.space == "main"
    assert registry.number == 0 and registry.row is not None
