"""What the race for commits and the look at a folder mean."""

import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from spark_jobs.diagnosis import store_access
from spark_jobs.diagnosis.store_access import StoreFacts, judge_store, try_store, untried_store
from spark_jobs.settings.sections import StoreSettings
from tests.support.machines import two

SOUND: dict[str, Any] = {
    "location": "s3a://bucket/lake",
    "tried": True,
    "log_store": "AzureLogStore",
    "winners": (1, 1, 1, 1, 1),
    "kept": 5,
}


def levels(facts: StoreFacts, **second: Any) -> list[tuple[str, str]]:
    return [(each.name, each.level) for each in judge_store(facts, two(**second))]


def test_a_sound_store() -> None:
    assert levels(StoreFacts(**SOUND)) == [("store", "ok"), ("commits", "ok")]


@pytest.mark.parametrize(
    ("winners", "kept"),
    [((1, 1, 2, 1, 1), 4), ((1, 1, 0, 1, 1), 4), ((2, 2, 2, 2, 2), 0), ((1, 1, 1, 1, 1), 4)],
)
def test_a_store_that_lets_both_writers_through_or_keeps_the_wrong_commit(winners: tuple[int, ...], kept: int) -> None:
    assert levels(StoreFacts(**{**SOUND, "winners": winners, "kept": kept})) == [("store", "ok"), ("commits", "fault")]


def test_a_log_store_of_one_driver_is_a_warning() -> None:
    facts = StoreFacts(**{**SOUND, "log_store": "S3SingleDriverLogStore"})
    assert levels(facts) == [("store", "ok"), ("commits", "warning")]


def test_a_store_that_cannot_be_written() -> None:
    (found,) = judge_store(StoreFacts(location="/lake", tried=True, cause="Read-only file system"), [])
    assert (found.level, found.cause) == ("fault", "the store at /lake cannot be used: Read-only file system.")


def test_the_remedy_of_an_object_store_is_told() -> None:
    facts = StoreFacts(location="s3a://gone/lake", tried=True, cause="s3a://gone does not exist", remedy="Create it.")
    (found,) = judge_store(facts, [])
    assert (found.level, found.remedy) == ("fault", "Create it.")


@pytest.mark.parametrize("store", [{"path": "s3a://slow/lake"}, {"catalog": "slow", "schema": "lake"}])
def test_a_store_that_hangs_is_not_said_to_lack_a_right(store: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    spark = Mock()
    spark.catalog.databaseExists = lambda _: over.wait()
    place = Mock(make=over.wait, remove=lambda: None)
    monkeypatch.setattr(store_access, "_Place", lambda *_: place)
    try:
        with try_store(spark, Mock(store=StoreSettings(**store)), limit=0.05) as facts:
            (found,) = judge_store(facts, [])
    finally:
        over.set()
    assert found.cause.endswith("cannot be used: it did not answer within 0.05 s.")
    assert found.remedy == "Look at the server and the network, or allow more time with --limit."


def test_a_folder_that_one_executor_does_not_see() -> None:
    facts = StoreFacts(**{**SOUND, "location": "/lake", "folder": "/lake/_embedlake/doctor-1", "locks": True})
    assert levels(facts, sees_store=True) == [("store", "ok"), ("commits", "ok")]
    found = judge_store(facts, two(sees_store=False))
    assert (found[0].level, found[0].cause) == (
        "fault",
        "the store at /lake is a folder, and executor 1 on two cannot write to the same one.",
    )


@pytest.mark.parametrize(("locks", "level"), [(True, "ok"), (False, "fault")])
def test_locks_keep_runs_apart_in_a_folder_whatever_the_race_was(locks: bool, level: str) -> None:
    facts = StoreFacts(**{**SOUND, "winners": (2, 1, 1, 1, 1), "kept": 4, "folder": "/lake/x", "locks": locks})
    assert levels(facts) == [("store", "ok"), ("commits", level)]


def test_a_catalog_is_said_not_to_be_tried() -> None:
    (found,) = judge_store(StoreFacts(location="main.x", why_not="a table in a catalog would be seen by others"), [])
    assert found.level == "ok" and "was not tried" in found.cause


def test_without_spark_a_folder_is_looked_at(tmp_path: Path) -> None:
    here = untried_store(StoreSettings(path=str(tmp_path / "a" / "b")), "there is no session")
    assert (here.tried, here.cause) == (False, "")
    tmp_path.joinpath("file").write_text("")
    below = untried_store(StoreSettings(path=str(tmp_path / "file" / "b")), "there is no session")
    assert below.tried and below.cause == f"{tmp_path / 'file'} cannot be written to"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    assert not untried_store(StoreSettings(path="s3a://bucket/lake"), "there is no session").tried
