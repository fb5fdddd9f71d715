"""A follower takes in what changes, pauses after faults, and gives every space its turn; the clock is the test's."""

import json
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from schemas.errors import StoppedError
from spark_jobs.embed_library import run as embed
from spark_jobs.embedding import following
from spark_jobs.embedding.following import Failed, Refreshed, Waiting
from spark_jobs.follow_library import run
from spark_jobs.settings import Settings
from spark_jobs.store import failpoints
from spark_jobs.store.locks import space_lock
from tests.support.template import OWLS_AND_BEES, Document, write_documents

pytestmark = pytest.mark.spark

Loaded = Callable[..., Settings]
Step = Callable[[], object]
WITH_ANTS: list[Document] = [*OWLS_AND_BEES, {"id": "c", "text": "Ants."}]


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
            self.told.append(
                f"{self.seconds:g} {event.space.name} {type(event.error).__name__} {event.seconds_to_next}"
            )

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


def path_of(settings: Settings) -> Path:
    return Path(str(settings.source.path))


def write(spark: SparkSession, path: Path, texts: dict[str | None, str]) -> None:
    rows = spark.createDataFrame(list(texts.items()), "id string, text string").coalesce(1)
    writer = rows.write.format("delta").option("delta.enableChangeDataFeed", "true")
    writer.mode("overwrite").save(str(path))


# Worth its time: one store, and the ways in which a source of versions changes or fails, in one story.
def test_versions_are_taken_in_and_a_fault_makes_pauses_that_grow_and_end(
    spark: SparkSession, loaded: Loaded, tmp_path: Path
) -> None:
    source, away = tmp_path / "source", tmp_path / "away"
    write(spark, source, {"a": "Owls.", "b": "Bees."})
    toy = loaded(OWLS_AND_BEES)
    versions = toy.source.model_copy(update={"format": "delta", "path": str(source)})
    story = Story(spark, toy=toy.model_copy(update={"source": versions}))
    told = story.tell(
        nothing,
        lambda: write(spark, source, {"a": "Owls.", "b": "Bees fly."}),
        lambda: source.rename(away),
        *[nothing] * 4,
        lambda: away.rename(source),
        lambda: write(spark, source, {"a": "Owls.", None: "Bees."}),
        nothing,
        lambda: write(spark, source, {"a": "Owls.", "b": "Bees fly."}),
        nothing,
    )
    assert told == [
        # What happened before the follower began is not known, so it begins with a run.
        "0 toy {}",
        '60 toy {"changed": 1}',
        # It is looked for every 30 s, and missed aloud after 30, 60 and 120 s.
        "90 toy InputError 30.0",
        "120 toy InputError 60.0",
        "180 toy InputError 120.0",
        "240 toy {}",
        # After a success the pause is short again, and a change ends it early.
        "270 toy InputError 30.0",
        "300 toy InputError 60.0",
        "330 toy {}",
    ]
    assert set(story.waits) == {30.0}


def test_a_space_that_fails_does_not_keep_the_next_one_from_its_turn(
    spark: SparkSession, load_template: Loaded, tmp_path: Path
) -> None:
    toy, other = (load_template(tmp_path / name, OWLS_AND_BEES) for name in ("toy", "other"))
    write_documents(OWLS_AND_BEES[:1], path_of(toy))
    story, held = Story(spark, toy=toy, other=other), ExitStack()
    held.enter_context(space_lock(toy))
    told = story.tell(
        held.close,
        lambda: write_documents(WITH_ANTS, path_of(other)),
        # Somebody looked at the source, and allows what it asks for.
        lambda: embed(spark, toy, allow_removals=True),
        nothing,
        nothing,
    )
    assert told == [
        # Another process is at work: it is never taken over from.
        "0 toy RunActiveError 30.0",
        "0 other {}",
        "30 toy InputError 60.0",
        '60 other {"added": 1}',
        "90 toy {}",
    ]


def test_spaces_of_one_source_share_each_look(
    spark: SparkSession, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, looks = loaded(OWLS_AND_BEES), list[str]()
    small = toy.model_copy(update={"space": "small", "model": toy.model.model_copy(update={"dimensions": 4})})
    original = following.source_state

    def look(*given: Any) -> str | None:
        looks.append("look")
        return original(*given)

    monkeypatch.setattr(following, "source_state", look)
    story = Story(spark, toy=toy, small=small)
    told = story.tell(nothing, lambda: write_documents(WITH_ANTS, path_of(toy)))
    assert told == ["0 toy {}", '0 small {"added": 2}', '60 toy {"added": 1}', '60 small {"added": 1}']
    assert len(looks) == 3


def test_until_idle_ends_after_a_look_that_finds_nothing_and_takes_in_what_came_during_a_run(
    spark: SparkSession, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = loaded(OWLS_AND_BEES)
    gone = toy.model_copy(update={"space": "gone", "source": toy.source.model_copy(update={"path": "/no/such.jsonl"})})
    write_documents(WITH_ANTS, path_of(toy))
    late = iter([[*WITH_ANTS, {"id": "d", "text": "Dogs."}]])

    def change(point: str) -> None:
        for documents in late if point == "vectors.before" else []:
            write_documents(documents, path_of(toy))

    monkeypatch.setattr(failpoints, "failpoint", change)
    story = Story(spark, gone=gone, toy=toy)
    ending = {"show_event": story.show, "now": lambda: story.seconds}
    assert run(spark, story.settings, until="idle", **ending) == {"gone": 2, "toy": 0}
    assert story.told == ["0 gone InputError None", '0 toy {"added": 1}', '0 toy {"added": 1}']
    assert run(spark, {"toy": toy}, until="once", **ending) == {"toy": 0}
    assert story.told[3:] == ["0 toy {}"]


def test_a_view_tells_no_state_and_is_compared_at_every_look_without_a_run(spark: SparkSession, loaded: Loaded) -> None:
    toy = loaded(OWLS_AND_BEES)
    view = toy.source.model_copy(update={"format": "table", "path": None, "table": "followed"})
    show_in_view(spark, path_of(toy), OWLS_AND_BEES)
    story = Story(spark, toy=toy.model_copy(update={"source": view}))
    told = story.tell(nothing, nothing, lambda: show_in_view(spark, path_of(toy), WITH_ANTS))
    assert told == ["0 toy {}", '90 toy {"added": 1}']


def show_in_view(spark: SparkSession, path: Path, documents: list[Document]) -> None:
    write_documents(documents, path)
    # Again each time, because a view of files keeps their list.
    spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW followed AS SELECT id, text FROM json.`{path}`")
