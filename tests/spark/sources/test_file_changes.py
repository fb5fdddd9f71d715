"""Which files have to be read again, by a model in plain Python over every combination of what can differ."""

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from pyspark.sql import SparkSession

from schemas.documents import LISTED
from schemas.reasons import ENCRYPTED, PARSER_TIMEOUT, UNPARSABLE
from spark_jobs.sources.file_changes import CHANGED, GONE, NEW, OUTDATED, UNSURE, ParserVersion, compare_files

pytestmark = pytest.mark.spark

PARSER = ParserVersion("2", "5 s")
KNOWN = "path string, size long, modified timestamp, is_racy boolean, parser string, _refused struct<reason: string>"
TIMES = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]
SIDES = [None, *product([1, 2], TIMES)]
PARSED = list(product([False, True], ["1", "2", "2, 5 s", "2, 9 s"], [None, PARSER_TIMEOUT, UNPARSABLE, ENCRYPTED]))


def expected(listed: Any, known: Any, parsed: Any, reads_all: bool, retries: bool) -> str | None:
    is_racy, parser, reason = parsed
    if listed is None:
        return GONE
    if known is None:
        return NEW
    if listed != known:
        return CHANGED
    if parser not in ("2", "2, 5 s") or (retries and reason in (PARSER_TIMEOUT, UNPARSABLE)):
        return OUTDATED
    return UNSURE if is_racy or reads_all else None


@pytest.mark.parametrize(("reads_all", "retries"), [(False, False), (True, False), (False, True)])
def test_each_file_is_read_again_if_it_may_have_changed(spark: SparkSession, reads_all: bool, retries: bool) -> None:
    cases = [case for case in product(SIDES, SIDES, PARSED) if case[0] or case[1]]
    listed = [(f"{number}", *case[0], None) for number, case in enumerate(cases) if case[0]]
    known = [
        (f"{number}", *case[1], case[2][0], case[2][1], (case[2][2],) if case[2][2] else None)
        for number, case in enumerate(cases)
        if case[1]
    ]
    rows = compare_files(
        spark.createDataFrame(listed, LISTED), spark.createDataFrame(known, KNOWN), PARSER, reads_all, retries
    )
    found = {row.path: row.change for row in rows.collect()}
    assert found == {f"{number}": expected(*case, reads_all, retries) for number, case in enumerate(cases)}
    assert {None, GONE, NEW, CHANGED, OUTDATED} | {*([UNSURE] if not reads_all else [])} <= {*found.values()} | {None}
