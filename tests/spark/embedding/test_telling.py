"""What a run tells of itself, event by event."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pyspark.sql import SparkSession

from schemas.errors import QuarantineLimitError
from spark_jobs.embed_library import run
from spark_jobs.runtime.events import Event
from spark_jobs.runtime.progress import Progress
from spark_jobs.settings import Settings

pytestmark = pytest.mark.spark

# Texts of two words; the stand-in model counts each, and two special tokens.
DOCUMENTS = [{"id": f"{number}", "text": f"owl {number}"} for number in range(3)]
FAULTY = {"id": "bad", "text": "FAKE-ENCODER-RAISES here"}


def told(spark: SparkSession, settings: Settings) -> list[Event]:
    seen: list[Event] = []
    run(spark, settings, progress=Progress(observers=(seen.append,)))
    return seen


def only(seen: list[Event], name: str) -> list[Mapping[str, Any]]:
    return [event.values for event in seen if event.name == name]


def test_a_run_tells_its_slices_its_steps_and_its_counts(
    spark: SparkSession, make_settings: Callable[..., Settings], write_json: Callable[..., str]
) -> None:
    settings = make_settings(
        write_json(DOCUMENTS), run={"memory_tokens": 0, "slice_tokens": 1}, cost={"per_hour": 3600, "currency": "EUR"}
    )
    seen = told(spark, settings)
    assert {(event.values["library"], event.values["space"]) for event in seen} == {("toy", "main")}
    began = [event.name for event in seen].index("run_started")
    assert all("run" not in event.values for event in seen[:began])
    assert {event.values["run"] for event in seen[began:]} == {"toy.main.1"}
    (plan,) = only(seen, "plan")
    assert (plan["documents"]["added"], plan["backlog"]) == (3, 3)

    slices = only(seen, "slice_started")
    assert [(each["slice"], each["documents"]) for each in slices] == [(1, 1), (2, 1), (3, 1)]
    committed = only(seen, "slice_committed")
    counted = [[each[name] for name in ("slice", "documents", "chunks", "backlog")] for each in committed]
    assert counted == [[1, 1, 1, 2], [2, 2, 2, 1], [3, 3, 3, 0]]
    assert [each["tokens_embedded"] for each in committed] == [4, 8, 12]
    assert committed[-1]["tokens"] == committed[-1]["tokens_planned"] == plan["tokens"]
    # An hour costs as many euros as it has seconds.
    assert all(each["cost"] == pytest.approx(each["seconds"], abs=0.01) for each in committed)
    assert {each["currency"] for each in committed} == {"EUR"}

    for number in (1, 2, 3):
        steps = [each["step"] for each in only(seen, "step_ended") if each.get("slice") == number]
        assert steps == ["chunk", "reuse", "embed", "merge vectors", "merge ledger"] or steps == [
            *("chunk", "embed", "merge vectors", "merge ledger")
        ]
    # The first two are committed while the next one is embedded: people are not shown their steps.
    shown = [event.values["slice"] for event in seen if event.text == "merge vectors"]
    assert shown == [3]
    (end,) = only(seen, "run_ended")
    assert (end["outcome"], end["counts"]["library_embedded"], end["counts"]["slices"]) == ("finished", 3, 3)
    assert (end["warnings"], end["source_version"]) == ([], None)
    assert 0 <= end["source_age"] <= end["seconds"] + 1


def test_a_run_with_nothing_to_do_tells_its_number_and_its_end(
    spark: SparkSession, loaded: Callable[..., Settings]
) -> None:
    seen = told(spark, loaded(DOCUMENTS))
    names = [event.name for event in seen if not event.name.startswith("step_")]
    assert names == ["plan", "run_started", "run_ended"]
    (end,) = only(seen, "run_ended")
    assert (end["run"], end["outcome"], end["counts"]["unchanged"]) == ("toy.main.2", "finished", 3)


def test_a_run_that_fails_tells_that(
    spark: SparkSession, make_settings: Callable[..., Settings], write_json: Callable[..., str]
) -> None:
    settings = make_settings(write_json([*DOCUMENTS, FAULTY]), run={"max_quarantined_fraction": 0})
    seen: list[Event] = []
    with pytest.raises(QuarantineLimitError):
        run(spark, settings, progress=Progress(observers=(seen.append,)))
    assert only(seen, "slice_committed")[0]["texts_failed"] == 1
    (end,) = only(seen, "run_ended")
    assert (end["outcome"], "counts" in end) == ("failed", False)
