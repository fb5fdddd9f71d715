"""How a run uses the model: once for each text, counted, recorded, and tried out beforehand."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from schemas.errors import InputError
from spark_jobs import calibrate_inference
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from spark_jobs.store.tables import space_tables
from udfs.encoders.fake import FakeTokenCounter

pytestmark = pytest.mark.spark

# Every text twice.
DOCUMENTS = [{"id": f"d{number}", "text": f"Owls hunt mouse {number % 100}."} for number in range(200)]
TOKENS = sum(FakeTokenCounter().inputs([f"Owls hunt mouse {number}." for number in range(100)]))


def statements(spark: SparkSession) -> dict[int, str]:
    """The final plans of the session's last statements by number, as shown on Spark's own SQL page."""
    found = spark._jsparkSession.sharedState().statusStore().executionsList()
    newest = [found.apply(number) for number in range(found.size())]
    return {one.executionId(): one.physicalPlanDescription().partition("== Initial Plan ==")[0] for one in newest}


# Worth its time: this is the only load in this file, and the test checks all of it.
def test_each_text_is_seen_once_by_one_statement_and_what_it_took_is_on_record(
    spark: SparkSession, write_json: Callable[..., str], make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(write_json(DOCUMENTS), chunking={"method": "none"})
    earlier = statements(spark).keys()
    mode = spark.conf.get("spark.sql.ui.explainMode")
    spark.conf.set("spark.sql.ui.explainMode", "formatted")
    report = run(spark, settings)
    spark.conf.set("spark.sql.ui.explainMode", mode)
    plans = [plan for number, plan in statements(spark).items() if number not in earlier]
    assert sum(plan.count("Arguments: embed(text_hash") for plan in plans) == 1
    values = report.inference.values
    assert (values["tokens"], values["retried"], values["out_of_memory"]) == (TOKENS, 0, 0)
    assert report.counts["tokens_embedded"] == TOKENS

    runs = space_tables(spark, settings).read("runs").where("event = 'finished'")
    (found,) = [row.inference.asDict() for row in runs.collect()]
    recorded = {name: value for name, value in found.items() if value is not None}
    assert recorded == report.inference.values
    assert recorded["computed"] >= recorded["tokens"] == TOKENS
    assert (recorded["device"], recorded["dtype"]) == ("cpu", "float32")
    assert all(recorded[name] > 0 for name in ("passes", "forward", "tokenise", "peak_mebibytes", "token_budget"))
    assert "cpu float32" in str(report)
    assert "bottleneck" in str(report)
    # A run that embeds nothing says nothing about the model.
    again = run(spark, settings)
    assert (again.inference.values, "bottleneck" in str(again)) == ({}, False)


def test_calibration_prints_and_writes_what_it_tried(
    spark: SparkSession, write_json: Callable[..., str], make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    shown = io.StringIO()
    settings = make_settings(write_json(DOCUMENTS))
    found = calibrate_inference.run(spark, settings, Console(file=shown, width=160), tmp_path / "out", texts=64)
    assert f"inference.token_budget: {found.token_budget}" in shown.getvalue()
    written = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert written["token_budget"] == found.token_budget
    assert (tmp_path / "out" / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "lake").exists()


def test_nothing_to_calibrate_with(
    spark: SparkSession, write_json: Callable[..., str], make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(write_json([{"id": "blank", "text": " "}]))
    with pytest.raises(InputError, match="the source has no text to calibrate with"):
        calibrate_inference.run(spark, settings, Console(file=io.StringIO()), tmp_path / "out")
