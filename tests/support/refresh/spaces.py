"""Drives the life of a library's spaces at random: refreshes, promotions, rollbacks and removals, some of them killed.

What must be there is kept in plain Python, and compared after every step.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from schemas.errors import EmbedlakeError
from spark_jobs import drop_space, promote_space, rollback_space
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from spark_jobs.store import read_vectors
from spark_jobs.store.failpoints import SimulatedCrash
from tests.support.refresh.machine import at
from tests.support.refresh.oracle import query
from tests.support.template import settings_of, write_documents
from udfs.encoders.fake import FakeEncoder

DIMENSIONS = {"main": 8, "next": 16, "third": 32}
_WORDS = ("owls", "bees", "elms", "wrens", "rooks", "dodos")
# Where a promotion or rollback can die, and where a removal can.
SWITCH_POINTS = ("spaces.before", "spaces.after")
DROP_POINTS = ("runs.before", "runs.after", "spaces.before", "spaces.after", "drop.before", "drop.after")


@dataclass
class Life:
    """A library, its spaces as they are and as they must be.

    Attributes:
        states: State of each space, as the registry has it.
        contents: The documents that each space held when its last run finished.
        retired: Spaces that were active, the last one last.
        in_doubt: Spaces whose last run or removal has not finished.
    """

    spark: SparkSession
    folder: Path
    seed: int
    documents: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    contents: dict[str, dict[str, str]] = field(default_factory=dict)
    retired: list[str] = field(default_factory=list)
    in_doubt: set[str] = field(default_factory=set)
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.edit()
        self.refresh("main")

    def settings(self, space: str) -> Settings:
        """Settings of a space."""
        sections: dict[str, Any] = {"model": {"path": f"fake:{DIMENSIONS[space]}"}}
        return settings_of(self.folder, str(self.folder / "source.jsonl"), space=space, **sections)

    @property
    def active(self) -> str:
        """The active space."""
        (space,) = (name for name, state in self.states.items() if state == "active")
        return space

    def edit(self) -> None:
        """Changes the source: documents come, change and go."""
        for _ in range(3):
            self.documents[f"d{self.random.randrange(9)}"] = f"{self.random.choice(_WORDS)} {self.random.random():.6f}"
        if len(self.documents) > 6:
            self.documents.pop(self.random.choice(sorted(self.documents)))
        rows = [{"id": key, "text": text} for key, text in self.documents.items()]
        write_documents(rows, self.folder / "source.jsonl")

    def refresh(self, space: str) -> None:
        """Builds or refreshes a space."""
        run(self.spark, self.settings(space), allow_removals=True)
        self.states.setdefault(space, "ready" if self.states else "active")
        self.contents[space] = dict(self.documents)
        self.in_doubt.discard(space)
        self.story.append(f"embed {space}")

    def promote(self, space: str, point: str | None = None) -> None:
        """Promotes a space; it must be refused if it is not there or in doubt."""
        before, is_same = self.active, self.contents.get(space) == self.contents[self.active]
        if space not in self.states or (space in self.in_doubt and space != before):
            return self.refused(lambda: promote_space.run(self.spark, self.settings("main"), space))
        # Of sources without versions, the space that was refreshed later is newer; forced, because nobody may know.
        forced: dict[str, Any] = {} if is_same else {"force": True, "reason": "drawn"}
        done = self.do(lambda: promote_space.run(self.spark, self.settings(space), space, **forced), point)
        self.story.append(f"promote {space} instead of {before}: {'done' if done else 'killed before'}")
        if done and space != before:
            self._switch(before, space)
        return None

    def roll_back(self, point: str | None = None) -> None:
        """Rolls back; it must be refused if no other space was active."""
        if not self.retired:
            return self.refused(lambda: rollback_space.run(self.spark, self.settings("main")))
        before, space = self.active, self.retired[-1]
        done = self.do(lambda: rollback_space.run(self.spark, self.settings("main")), point)
        self.story.append(f"roll back to {space}: {'done' if done else 'killed before'}")
        if done:
            self._switch(before, space)
        return None

    def _switch(self, before: str, space: str) -> None:
        self.states |= {before: "retired", space: "active"}
        self.retired = [name for name in self.retired if name not in (before, space)] + [before]

    def drop(self, space: str, point: str | None = None) -> None:
        """Removes a space; refused for the active one. A removal that was killed is repeated."""

        def job() -> None:
            drop_space.run(self.spark, self.settings("main"), space, force=True)

        if self.states.get(space, "active") == "active":
            return self.refused(job)
        done = self.do(job, point, after=("spaces.after", "drop.before", "drop.after"))
        self.story.append(f"drop {space} at {point}: {'done' if done else 'killed before'}")
        if not done:
            if point != "runs.before":
                self.in_doubt.add(space)
            return None
        self.in_doubt.discard(space)
        del self.states[space], self.contents[space]
        self.retired = [name for name in self.retired if name != space]
        self.compare()
        if point in ("spaces.after", "drop.before"):
            job()
        return None

    def do(self, job: Callable[[], object], point: str | None, after: tuple[str, ...] = ("spaces.after",)) -> bool:
        """Does something, or dies at a failpoint; returns whether its commit was made."""
        if point is None:
            job()
            return True

        def die() -> None:
            raise SimulatedCrash(point)

        try:
            with at((point, 1), die):
                job()
        except SimulatedCrash:
            return point in after
        # Nothing to commit, as for a space that is active already.
        return True

    def refused(self, job: Callable[[], object]) -> None:
        """Does what must be refused."""
        try:
            job()
        except EmbedlakeError as error:
            self.story.append(f"refused: {error}")
        else:
            raise AssertionError(f"not refused: {self.story[-3:]}")

    def compare(self) -> None:
        """Compares registry and readers with what must be there."""
        registry = self.folder / "lake" / "_embedlake" / "spaces"
        rows = query(registry, "select space, state, active, number from t where change <> 'refused'")
        newest = {row["space"]: row for row in sorted(rows, key=lambda row: row["number"])}
        found = {name: row["state"] for name, row in newest.items() if row["state"] != "dropped"}
        assert found == self.states, self.story[-5:]
        assert [name for name, row in newest.items() if row["active"]] == [self.active], self.story[-5:]
        for space in (None, *self.states):
            name = space or self.active
            stored = {row.doc_id: row for row in read_vectors(self.spark, self.settings("main"), space).collect()}
            expected = self.contents[name]
            assert {key: row.text for key, row in stored.items()} == expected, (name, self.story[-5:])
            vectors = FakeEncoder(DIMENSIONS[name]).encode(list(expected.values()))
            assert np.array_equal(np.array([stored[key].embedding for key in expected], np.float32), vectors), name

    def step(self) -> None:
        """Does one thing at random, and compares."""
        space = self.random.choice(list(DIMENSIONS))
        kind = self.random.choice(["edit", "refresh", "refresh", "promote", "promote", "back", "drop"])
        dies = self.random.random() < 0.5
        if kind == "edit":
            self.edit()
            return
        if kind == "refresh":
            self.refresh(space)
        elif kind == "promote":
            self.promote(space, self.random.choice(SWITCH_POINTS) if dies else None)
        elif kind == "back":
            self.roll_back(self.random.choice(SWITCH_POINTS) if dies else None)
        else:
            self.drop(space, self.random.choice(DROP_POINTS) if dies else None)
        self.compare()
