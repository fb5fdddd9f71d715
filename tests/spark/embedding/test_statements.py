"""How many statements and commits a run of a small library takes; ARCHITECTURE has the same numbers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.embed_library import run
from spark_jobs.runtime.session import require_delta
from spark_jobs.settings import Settings
from tests.conftest import ROOT

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

_ROW = re.compile(r"^\| (first load|nothing to do|refresh of one slice) \| (\d+) \| (\d+) \|", re.MULTILINE)


def statements(spark: Any, since: int = -1) -> list[int]:
    """Lists the numbers of the driver's statements; the steps into which Delta divides one have it as their root."""
    # Spark counts them on a thread of its own, which may be behind.
    spark._jsc.sc().listenerBus().waitUntilEmpty(30_000)
    found = spark._jsparkSession.sharedState().statusStore().executionsList()
    every = [found.apply(number) for number in range(found.size())]
    return [each.executionId() for each in every if each.executionId() == each.rootExecutionId() > since]


def commits(settings: Settings) -> int:
    return sum(1 for _ in Path(str(settings.store.path)).glob("**/_delta_log/*.json"))


def test_a_small_run_takes_few_statements_and_commits(
    spark: SparkSession, write_json: Callable[..., str], make_settings: Callable[..., Settings]
) -> None:
    documents = [{"id": f"d{number}", "text": f"Owls hunt mouse {number}."} for number in range(200)]
    settings = make_settings(write_json(documents))
    # The first job in a session asks it once whether it knows Delta.
    require_delta(spark)
    found = {}
    for name in ("first load", "nothing to do", "refresh of one slice"):
        if name == "refresh of one slice":
            write_json([{"id": "d0", "text": "Bees make honey."}, *documents[1:-1], {"id": "new", "text": "Elms."}])
        newest, before = max(statements(spark), default=-1), commits(settings)
        run(spark, settings)
        found[name] = (len(statements(spark, newest)), commits(settings) - before)
    stated = _ROW.findall((ROOT / "ARCHITECTURE.md").read_text())
    assert found == {name: (int(number), int(made)) for name, number, made in stated}
