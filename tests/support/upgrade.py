"""A library whose model is changed, and changed back, while another process asks it questions all the time."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pyspark.sql import SparkSession

from spark_jobs import export_library, promote_space, rollback_space
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings, load_settings
from tests.support.asker import QUESTIONS
from tests.support.paths import ROOT
from tests.support.template import write_documents
from udfs.encoders.fake import FakeEncoder

DIMENSIONS = {"main": 8, "next": 16}
DOCUMENTS = {f"d{number:02}": f"Owls hunt mouse {number}." for number in range(40)}
_DEADLINE = 1800


@dataclass
class Upgrade:
    """The library, who asks, and when which space became active.

    Attributes:
        switches: Space that became active, and the times before and after the switch, in order.
        shown: Space whose vectors PostgreSQL has, and the times before and after its export, in order.
    """

    spark: SparkSession
    folder: Path
    table: str | None
    properties: dict[str, str]
    switches: list[tuple[str, float, float]] = field(default_factory=list)
    shown: list[tuple[str, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows = [{"id": key, "text": text} for key, text in DOCUMENTS.items()]
        values = {
            "library": "asked",
            "store": {"path": str(self.folder / "lake")},
            "source": {
                "format": "json",
                "path": write_documents(rows, self.folder / "source.jsonl"),
                "id_column": "id",
                "text_columns": ["text"],
            },
            "model": {"path": f"fake:{DIMENSIONS['main']}"},
            "spark": {"master": "local[1]", "properties": self.properties},
        }
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

    def settings(self, space: str) -> Settings:
        """Settings of a space."""
        model = f"model.path=fake:{DIMENSIONS[space]}"
        return load_settings(self.folder / "settings.yaml", [f"space={space}", model])

    def timed(self, log: list[tuple[str, float, float]], space: str, job: Callable[[], object]) -> None:
        """Does something after which a space is served, and notes when."""
        began = time.time()
        job()
        log.append((space, began, time.time()))

    def export(self, space: str) -> None:
        """Brings the active space to PostgreSQL."""
        if self.table is not None:
            to = f"postgresql:///postgres#public.{self.table}"
            self.timed(self.shown, space, lambda: export_library.run(self.spark, self.settings("main"), to))

    def go_through(self, answers: int) -> dict[str, Any]:
        """Builds, promotes, rolls back and promotes again, with as many answers to searches between them in all.

        Returns:
            What was asked and answered; see `summary`.
        """
        self.timed(self.switches, "main", lambda: run(self.spark, self.settings("main")))
        self.export("main")
        with self.asking() as wait_for:
            wait_for(answers // 5)
            run(self.spark, self.settings("next"))
            wait_for(2 * answers // 5)
            steps: tuple[tuple[str, Callable[[], object]], ...] = (
                ("next", lambda: promote_space.run(self.spark, self.settings("main"), "next")),
                ("main", lambda: rollback_space.run(self.spark, self.settings("main"))),
                ("next", lambda: promote_space.run(self.spark, self.settings("main"), "next")),
            )
            for number, (space, job) in enumerate(steps, start=3):
                self.timed(self.switches, space, job)
                self.export(space)
                wait_for(number * answers // 5)
        return self.summary()

    @contextmanager
    def asking(self) -> Iterator[Callable[[int], None]]:
        """Has another process ask; yields a function that waits until so many searches were answered."""
        command = [sys.executable, str(ROOT / "tests" / "support" / "asker.py"), str(self.folder / "settings.yaml")]
        tables = [self.table] if self.table is not None else []
        with (self.folder / "asker.log").open("w") as log:
            asker = subprocess.Popen([*command, str(self.folder), *tables], stdout=log, stderr=log, cwd=self.folder)

        def wait_for(answers: int) -> None:
            until = time.time() + _DEADLINE
            while len(self.answers("search")) < answers:
                if asker.poll() is not None or time.time() > until:
                    raise RuntimeError((self.folder / "asker.log").read_text()[-2000:])
                time.sleep(0.2)

        try:
            yield wait_for
        finally:
            (self.folder / "stop").touch()
            try:
                asker.wait(60)
            finally:
                asker.kill()

    def answers(self, name: str) -> list[dict[str, Any]]:
        """Answers so far; the last line may be half written."""
        path = self.folder / f"{name}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def summary(self) -> dict[str, Any]:
        """Counts answers, errors, mixtures of two spaces, and answers of a space that was not active then."""
        searches, rows = self.answers("search"), self.answers("postgresql")
        wrong = [one for one in searches if "error" not in one and not _is_exact(one)]
        mixed = [one for one in rows if "error" not in one and not _is_whole(one)]
        return {
            "searches": len(searches),
            "queries_of_postgresql": len(rows),
            "errors": [one["error"] for one in searches + rows if "error" in one][:5],
            "mixed": len(wrong) + len(mixed),
            "late_or_early": sum(one["space"] not in _served(self.switches, one) for one in searches if "space" in one)
            + sum(_space_of(one) not in _served(self.shown, one) for one in rows if "rows" in one),
            "spaces": _runs_of([one["space"] for one in searches if "space" in one]),
            "spaces_in_postgresql": _runs_of([_space_of(one) for one in rows if "rows" in one]),
        }


def _is_exact(answer: dict[str, Any]) -> bool:
    """Whether the hits are the three nearest documents by the model of the answer's space; equal scores are ties."""
    encoder = FakeEncoder(DIMENSIONS[answer["space"]])
    scores = encoder.encode(list(DOCUMENTS.values())) @ encoder.encode([QUESTIONS[answer["question"]]])[0]
    by_id = dict(zip(DOCUMENTS, scores, strict=True))
    found = [score for _, score in answer["hits"]]
    return bool(
        np.allclose(found, np.sort(scores)[::-1][:3], atol=1e-4)
        and np.allclose(found, [by_id[doc_id] for doc_id, _ in answer["hits"]], atol=1e-4)
    )


def _is_whole(row: dict[str, Any]) -> bool:
    return row["rows"] == len(DOCUMENTS) and row["dimensions"][0] == row["dimensions"][1]


def _space_of(row: dict[str, Any]) -> str:
    return next((space for space, number in DIMENSIONS.items() if number == row["dimensions"][0]), "none")


def _served(log: list[tuple[str, float, float]], answer: dict[str, Any]) -> set[str]:
    """Spaces that may have answered: those that were active at some time between question and answer."""
    # A space is surely active from the end of the call that made it so, and may be from its beginning on; it surely is
    # until the next such call begins, and may be until that one ends.
    ended = [after for _, _, after in log[1:]] + [float("inf")]
    times = zip(log, ended, strict=True)
    return {space for (space, began, _), end in times if began <= answer["ended"] and end >= answer["began"]}


def _runs_of(spaces: list[str]) -> list[str]:
    return [space for index, space in enumerate(spaces) if index == 0 or spaces[index - 1] != space]
