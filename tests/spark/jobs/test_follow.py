"""A follower takes in what changes, pauses after faults, and gives every space its turn; the clock is the test's own."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from schemas.errors import StoppedError
from spark_jobs.embed_library import run as embed
from spark_jobs.embedding.following import Failed, Refreshed, Waiting
from spark_jobs.follow_library import run
from spark_jobs.settings import Settings
from spark_jobs.store import failpoints
from spark_jobs.store.locks import space_lock
from tests.support.template import OWLS_AND_BEES, Document, write_documents

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
Loaded = Callable[..., Settings]
Step = Callable[[], object]


def nothing() -> None:
    """What happens between two looks where nothing does."""


class Story:
    """Follows spaces while a test tells what happens between two looks, and ends as a signal ends it.

    Args:
        spark: The live session.
        settings: The spaces by name.
    """

    def __init__(self, spark: SparkSession, **settings: Settings) -> None:
        self.spark, self.settings, self.seconds = spark, settings, 0.0
        self.told: list[str] = []
        self.waits: list[float] = []
        self.codes: dict[str, int] = {}

    def show(self, event: Refreshed | Failed | Waiting) -> None:
        if isinstance(event, Refreshed):
            changes = {c: event.report.counts[c] for c in ("added", "changed", "removed") if event.report.counts[c]}
            self.told.append(f"{self.seconds:g} {event.space.name} {json.dumps(changes)}")
        elif isinstance(event, Failed):
            self.told.append(f"{self.seconds:g} {event.space.name} {type(event.error).__name__} {event.seconds_to_next}")

    def tell(self, *steps: Step, seconds: float = 30) -> list[str]:
        """Follows until the steps are used up, one a wait; returns what was told, with the time of the clock."""
        left = list(steps)

        def wait(asked: float) -> None:
            self.waits.append(asked)
            if not left:
                raise StoppedError(signal.SIGTERM)
            left.pop(0)()
            self.seconds += seconds

        with pytest.raises(StoppedError):
            run(self.spark, self.settings, show_event=self.show, wait=wait, now=lambda: self.seconds)
        return self.told


def write(spark: SparkSession, path: Path, texts: dict[str | None, str]) -> None:
    rows = spark.createDataFrame(list(texts.items()), "id string, text string").coalesce(1)
    writer = rows.write.format("delta").option("delta.enableChangeDataFeed", "true")
    writer.mode("overwrite").save(str(path))


# Worth its time: one store, and the ways in which a source of versions changes or fails, in one story.
def test_versions_are_taken_in_and_a_fault_makes_pauses_that_grow_and_end(
    spark: SparkSession, make_settings: MakeSettings, tmp_path: Path
) -> None:
    source, away = tmp_path / "source", tmp_path / "away"
    write(spark, source, {"a": "Owls.", "b": "Bees."})
    settings = make_settings(str(source), source={"format": "delta"})
    story = Story(spark, toy=settings)
    told = story.tell(
        nothing,
        lambda: write(spark, source, {"a": "Owls.", "b": "Bees fly."}),
        lambda: source.rename(away),
        *[nothing] * 4,
        lambda: away.rename(source),
        lambda: write(spark, source, {"a": "Owls.", None: "Bees."}),
        nothing,
        lambda: write(spark, source, {"a": "Owls.", "b": "Ants."}),
    )
    assert told == [
        '0 toy {"added": 2}',
        '60 toy {"changed": 1}',
        # It is looked for every 30 s, and missed aloud after 30, 60 and 120 s.
        "90 toy InputError 30.0",
        "120 toy InputError 60.0",
        "180 toy InputError 120.0",
        "240 toy {}",
        # After a success the pause is short again, and a change ends it early.
        "270 toy InputError 30.0",
        "300 toy InputError 60.0",
        '330 toy {"changed": 1}',
    ]
    assert set(story.waits) == {30.0}
