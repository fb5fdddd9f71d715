"""The diagnosis of a live session: what is sound is said to be, and what is broken does not hide the rest."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_jobs import check_platform
from spark_jobs.diagnosis import executors
from spark_jobs.diagnosis.executors import ask_executors
from spark_jobs.diagnosis.machines import request_of
from spark_jobs.diagnosis.properties import find_properties
from spark_jobs.settings import Settings
from tests.support.command import Command

pytestmark = pytest.mark.spark
LINES = {"java", "session", "executors", "spark", "delta", "python", "packages", "model", "gpus", "memory", "cores"}
LINES |= {"disk", "store", "commits", "clocks", "properties"}


@pytest.fixture
def settings(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    return make_settings(str(tmp_path / "no-source.jsonl"))


def test_a_sound_platform_has_no_fault_before_anything_exists(
    spark: SparkSession, settings: Settings, tmp_path: Path
) -> None:
    found = check_platform.run(spark, settings)
    assert [each for each in found.findings if each.level == "fault"] == []
    assert {each.name for each in found.findings} == LINES
    # The store was tried, and nothing of that is left.
    assert list(tmp_path.iterdir()) == []


def test_a_store_with_tables_is_left_as_it_was(spark: SparkSession, loaded: Callable[..., Settings]) -> None:
    settings = loaded([{"id": "a", "text": "Owls."}])
    store = Path(str(settings.store.path))
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    assert not check_platform.run(spark, settings).has_faults
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in store.joinpath("_embedlake").iterdir() if "doctor" in path.name) == []


def test_faults_of_store_and_model_are_found_at_once(spark: SparkSession, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    values = settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    tmp_path.joinpath("taken").write_text("")
    values |= {"store": {"path": f"{tmp_path}/taken/lake"}, "model": {"path": f"{tmp_path}/no-model"}}
    file.write_text(json.dumps(values))
    done = Command(spark)("doctor", "--config", file, "--json")
    assert done.returncode == 2
    report = json.loads(done.stdout)
    faults = {each["name"]: each for each in report["findings"] if each["level"] == "fault"}
    assert set(faults) >= {"store", "model"} and report["faults"] == len(
        [each for each in report["findings"] if each["level"] == "fault"]
    )
    assert all(each["remedy"] for each in faults.values())
    assert "Traceback" not in done.stdout + done.stderr


def test_a_function_on_workers_finds_what_a_program_finds(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(settings, "/tmp")
    by_java = ask_executors(spark, settings, request, 60).machines
    # As over Connect.
    monkeypatch.setattr(executors.classic, "is_classic", lambda _: False)
    by_function = ask_executors(spark, settings, request, 60).machines
    assert len(by_java) == len(by_function) == 1
    for name in ("host", "python", "packages", "cores", "half_precision", "gpus", "place"):
        assert getattr(by_java[0], name) == getattr(by_function[0], name), name


def test_executors_that_do_not_answer_cost_the_limit(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "probe_source", lambda: "import time\ntime.sleep(600)")
    begun = time.monotonic()
    (found,) = ask_executors(spark, settings, request_of(settings), 8).machines
    assert found.failed == 124 and time.monotonic() - begun < 30
    # Their tasks have ended, so the session is free.
    assert spark.range(3).count() == 3


def test_a_job_that_does_not_end_is_given_up(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors.classic, "pipe", lambda *_: time.sleep(20))
    found = ask_executors(spark, settings, request_of(settings), 1)
    assert (found.machines, found.cause, found.seconds) == ([], "the executors did not answer", 1)


def test_a_python_that_fails_on_an_executor_leaves_its_exit_code(
    spark: SparkSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "probe_source", lambda: "raise SystemExit(9)")
    (found,) = ask_executors(spark, settings, request_of(settings), 60).machines
    assert found.failed == 9


def test_properties_are_tried_and_left_as_they_were(spark: SparkSession, settings: Settings) -> None:
    before = {row.key: row.value for row in spark.sql("SET").collect()}
    own = settings.spark.model_copy(update={"properties": {"spark.executor.heartbeatInterval": "7s"}})
    found = find_properties(spark, own)
    assert (found.refused, found.ignored) == ((), ("spark.executor.heartbeatInterval",))
    assert found.values["spark.master"] == "local[2]"
    assert {row.key: row.value for row in spark.sql("SET").collect()} == before
