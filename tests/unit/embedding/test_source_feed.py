"""When the change feed may be used, and when not."""

from types import SimpleNamespace
from typing import Any

import pytest

from spark_jobs.embedding.source_feed import why_no_feed


def answer_with(retry_quarantined: bool = False, **changes: Any) -> str | None:
    """Asks of a source that has everything the feed needs, but for what is named."""
    source = {"version": 9, "has_feed": True, "table_id": "t1", "commit": "c9", "rule": "r1"}
    before = {"source_version": 9, "source_id": "t1 c9", "source_rule": "r1"}
    source |= {key: value for key, value in changes.items() if key in source}
    before |= {key: value for key, value in changes.items() if key in before}
    columns = SimpleNamespace(columns=["id", "text", "lang", "n"])
    state: Any = SimpleNamespace(
        before=None if changes.get("first") else SimpleNamespace(**before),
        tables=SimpleNamespace(spark=None),
        was_clean=changes.get("was_clean", True),
        is_check_due=lambda every: changes.get("number", 7) % every == 0,
    )
    settings: Any = SimpleNamespace(
        source=SimpleNamespace(filter=changes.get("filter")), run=SimpleNamespace(full_check_every=20)
    )
    read: Any = SimpleNamespace(**source, rows=columns)
    return why_no_feed(state, settings, read, retry_quarantined)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": None}, "the source has no versions"),
        ({"first": True}, "no run has finished yet"),
        ({"was_clean": False}, "an earlier run has not finished"),
        ({"has_feed": False}, "the source's change feed is off"),
        ({"number": 40}, "every 20 runs everything is read"),
        ({"table_id": "t2"}, "the source is another table than the last finished run read"),
        ({"source_rule": "r0"}, "the settings or types of the source's columns are others than in the last"),
        ({"version": 4}, "the source's version went back"),
        ({"commit": "c8"}, "the source's version 9 is not the one that the last finished run read"),
        # As earlier versions recorded it, without the commit.
        ({"source_id": "t1"}, "the source's version 9 is not the one that the last finished run read"),
        ({"source_version": None}, "the source's version went back"),
        ({"filter": "n > hour(current_timestamp())"}, "source.filter calls functions"),
        ({"filter": "lang = current_user"}, "source.filter calls functions"),
        ({"filter": "id IN (SELECT id FROM other)"}, "source.filter calls functions"),
        ({"filter": "lang(text) = 'en'"}, "source.filter calls functions"),
        ({"filter": "n < `rand`() * 9"}, "source.filter calls functions"),
        ({"filter": "n < `rand` ()"}, "source.filter calls functions"),
    ],
)
def test_the_reason_for_not_using_the_feed_is_given(changes: dict[str, Any], reason: str) -> None:
    assert (answer_with(**changes) or "").startswith(reason)


@pytest.mark.parametrize(
    "expression", [None, "lang = 'en'", "n > 3 AND (lang IN ('en', 'de') or not lang is null)", "lang like 'now()%'"]
)
def test_filters_on_single_rows_still_allow_the_feed(expression: str | None) -> None:
    # The last question, about retries, is reached only when nothing before it speaks against the feed.
    answer = answer_with(retry_quarantined=True, filter=expression)
    assert answer == "quarantined documents are tried again"
