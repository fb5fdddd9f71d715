"""Tasks of a local session count their tokens where the driver reads them, and a run's bar ends at its end."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from pyspark.sql import SparkSession

from spark_jobs.embed_library import run
from spark_jobs.runtime.inference import embed_rows
from spark_jobs.runtime.progress import Progress
from spark_jobs.runtime.tasks import token_counts
from spark_jobs.settings import Settings
from spark_jobs.settings.sections import InferenceSettings
from tests.support.screen import Screen
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

pytestmark = pytest.mark.spark


def test_tasks_count_the_tokens_that_they_embed(spark: SparkSession) -> None:
    # The stand-in model counts words, punctuation marks and two special tokens.
    texts = [("1", "owl"), ("2", "bees make honey"), ("3", "rook.")]
    rows = spark.createDataFrame(texts, "text_hash string, text string").repartition(2)
    spec = replace(InferenceSpec(model=describe_model("fake:8")), token_budget=64)
    with token_counts(spark, 2) as counts:
        assert counts is not None
        embedded = embed_rows(rows, spec, InferenceSettings(), counts).collect()
        found = counts.read_bytes()
    assert sum(row.token_count for row in embedded) == 3 + 5 + 4
    assert sum(int.from_bytes(found[start : start + 8], "little") for start in (0, 8)) == 12
    assert not counts.exists()
    # A worker that is elsewhere does not find the file, and embeds all the same.
    assert embed_rows(rows, spec, InferenceSettings(), counts).count() == 3
    assert not counts.exists()


def test_a_run_on_a_terminal_ends_at_a_hundred_percent(
    spark: SparkSession, make_settings: Callable[..., Settings], write_json: Callable[..., str]
) -> None:
    documents = [{"id": f"{number}", "text": f"owl {number}"} for number in range(3)]
    screen = Screen(120)
    with Progress(screen.console).live() as progress:
        run(spark, make_settings(write_json(documents)), progress=progress)
    lines = [line[9:] for line in screen.lines()]
    assert lines[-1].startswith("━━━━━━━━━━━━━━━━━━━━ 100% · ") and "3 documents · 3 chunks" in lines[-1]
    assert [line.split("  ")[0] for line in lines if line.endswith(" s")] == [
        *("pre-flight", "compare", "open", "plan", "reconcile", "close")
    ]
    assert [line for line in lines if line.startswith("slice 1 ") and " · embed " in line]
