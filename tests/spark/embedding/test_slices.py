"""Slices of a run: one is committed while the next one is embedded."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from schemas.runs import FAILED, FINISHED, SLICE_COMMITTED
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from spark_jobs.store import failpoints
from tests.support.refresh.oracle import query

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

WriteJson = Callable[..., str]
MakeSettings = Callable[..., Settings]
DOCUMENTS = [{"id": f"d{number}", "text": f"Owls hunt mouse {number}."} for number in range(30)]


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, *seen: Callable[[str], None]) -> Iterator[list[str]]:
    """Lists the failpoints that a run passes, in order."""
    places: list[str] = []

    def watch(place: str) -> None:
        places.append(place)
        for each in seen:
            each(place)

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "failpoint", watch)
        yield places


def events(settings: Settings) -> list[tuple[str, int | None]]:
    record = Path(str(settings.store.path), "_embedlake", "runs")
    rows = query(record, "select event, slice_number from t order by event_time")
    return [(row["event"], row["slice_number"]) for row in rows if row["event"] != "started"]


def test_a_slice_is_committed_while_the_next_one_is_embedded(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(write_json(DOCUMENTS), run={"slice_tokens": 60, "memory_tokens": 0})
    next_one = threading.Event()
    staged: list[str] = []

    def wait(place: str) -> None:
        if place == "staged_vectors.after":
            # Once when the table is made, then once a slice.
            staged.append(place)
            if len(staged) == 1 + 2:
                next_one.set()
        if place == "vectors.before":
            # The first commit goes on only once the second slice has its vectors.
            assert next_one.wait(60)

    with watched(monkeypatch, wait) as places:
        report = run(spark, settings)
    slices = report.counts["slices"]
    assert slices > 2
    assert [place for place in places if place in ("vectors.after", "ledger.after")] == [
        "vectors.after",
        "ledger.after",
    ] * slices
    # Nothing is embedded before the slice before the one before is committed.
    for number, at in enumerate(at for at, place in enumerate(places) if place == "staged_chunks.before"):
        assert places[:at].count("ledger.after") >= number - 2
    assert events(settings) == [*((SLICE_COMMITTED, number) for number in range(1, slices + 1)), (FINISHED, None)]


def test_a_slice_that_cannot_be_embedded_lets_the_one_before_be_committed(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(write_json(DOCUMENTS), run={"slice_tokens": 60, "memory_tokens": 0})
    failed = threading.Event()
    staged: list[str] = []

    def fail(place: str) -> None:
        if place == "staged_vectors.before":
            # Once when the table is made, then once a slice.
            staged.append(place)
            if len(staged) == 1 + 2:
                failed.set()
                raise ConnectionError("the server does not answer")
        if place == "vectors.before":
            assert failed.wait(60)

    with ExitStack() as stack:
        stack.enter_context(watched(monkeypatch, fail))
        stack.enter_context(pytest.raises(ConnectionError))
        run(spark, settings)
    assert events(settings) == [(SLICE_COMMITTED, 1), (FAILED, None)]
    space = Path(str(settings.store.path), "toy", "main")
    stored = {row["doc_id"] for row in query(space / "vectors", "select doc_id from t")}
    assert stored == {row["doc_id"] for row in query(space / "ledger", "select doc_id from t")}
    assert 0 < len(stored) < 30
    # What the failed slice had is embedded now, and nothing twice.
    assert run(spark, settings).counts["chunks_embedded"] == 30 - len(stored)
