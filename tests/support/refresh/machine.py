"""Drives the job through random refreshes, crashes, takeovers and retries, and asks the oracle after each success."""

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from pyspark.sql import SparkSession

from schemas.errors import RunActiveError
from spark_jobs.embed_library import run
from spark_jobs.embedding.report import RunReport
from spark_jobs.settings import Settings, as_settings
from spark_jobs.store import failpoints
from spark_jobs.store.failpoints import SimulatedCrash
from tests.support.refresh.library import Library
from tests.support.refresh.oracle import MAX_TOKENS, Oracle, chunks_of

_SIDES = ("before", "after")
# The commits of one run to each table where it can be stopped: the first, the second, ...
_COMMITS = {
    "runs": (1, 2, 3),
    "plan": (1, 2),
    "staged_chunks": (1, 2),
    "staged_vectors": (1, 2),
    "vectors": (1, 2),
    "ledger": (1, 2),
}
# The failpoints of a store's first run. Each is reached by a run that continues where the previous one was stopped: the
# first five by runs that register the space and then make its tables to shut out the run before, the others by a run
# whose first rows make `vectors`, and by the one that follows it.
FIRST = [
    *(("spaces.before", 1), ("spaces.after", 1), ("runs.after", 1), ("vectors.before", 1), ("ledger.before", 1)),
    *(("vectors.after", 1), ("ledger.after", 1)),
]
FAILPOINTS = [(f"{table}.{side}", hit) for table, hits in _COMMITS.items() for hit in hits for side in _SIDES]


@contextmanager
def at(point: tuple[str, int], action: Callable[[], None]) -> Iterator[None]:
    """Does something when a run reaches a failpoint for the given time."""
    name, hit = point
    hits = itertools.count(1)
    original = failpoints.failpoint

    def watch(place: str) -> None:
        if place == name and next(hits) == hit:
            failpoints.failpoint = original
            action()

    failpoints.failpoint = watch
    try:
        yield
    finally:
        failpoints.failpoint = original


@dataclass
class Machine:
    """One store, one library, and what happened to them."""

    spark: SparkSession
    folder: Path
    seed: int
    runs: int = 0
    faults: list[str] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.library = Library(self.folder / "source", self.seed)
        self.random = self.library.random
        self.oracle = Oracle()
        self.settled = False

    def copy(self, folder: Path) -> "Machine":
        """Copies the store, the library and what is known about them, so that both can continue independently."""
        copy = Machine(self.spark, folder, self.seed)
        copy.library, copy.oracle = deepcopy((self.library, self.oracle))
        copy.library.folder, copy.random = folder / "source", copy.library.random
        copy.settled = self.settled
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return copy

    def settings(self, slice_tokens: int | None = None) -> Settings:
        """Settings with random values for what may vary between runs: slice sizes, and how changes are found."""
        values: dict[str, Any] = {
            "library": "toy",
            "store": {"path": str(self.folder / "lake")},
            "source": {
                "format": "delta",
                "path": str(self.library.folder),
                "id_column": "id",
                "text_columns": ["text"],
                "payload_columns": ["n"],
                "track": self.random.choice(["auto", "auto", "auto", "compare"]),
            },
            "chunking": {"max_tokens": MAX_TOKENS},
            "model": {"path": "fake:8"},
            "run": {
                "max_quarantined_fraction": 1.0,
                "slice_tokens": slice_tokens or self.random.choice(["auto", "auto", "auto", 1200]),
            },
        }
        return as_settings(values)

    def change(self, edits: int) -> None:
        """Edits the library. Occasionally its table is re-created or loses the history of its feed."""
        self.library.change(edits)
        self.library.publish()
        event = self.random.random()
        if event < 0.05:
            self.library.make_anew()
            self.story.append("source made anew")
        elif event < 0.10:
            self.library.forget_history()
            self.story.append("feed's files removed")
        self.settled = False

    def succeed(self, **options: Any) -> RunReport:
        """Runs to the end and compares the tables with the oracle."""
        self.oracle.attempted(self.library.documents)
        report = self._run(self.spark, **options)
        self._compare(report, retried=bool(options.get("retry_quarantined")))
        return report

    def crash(self, point: tuple[str, int], slice_tokens: int | None = None) -> bool:
        """Runs until a failpoint. If the run does not reach it, it finishes successfully.

        Args:
            point: The failpoint, and the number of the visit at which the run crashes.
            slice_tokens: Size of the run's slices; random by default.

        Returns:
            Whether it crashed.
        """

        def stop() -> None:
            self.reached[point[0]] += 1
            raise SimulatedCrash(point[0])

        self.oracle.attempted(self.library.documents)
        try:
            with at(point, stop):
                report = self._run(self.spark, slice_tokens)
        except SimulatedCrash:
            self.story.append(f"crash at {point}")
            return True
        self._compare(report)
        return False

    def again(self) -> None:
        """Runs once more with nothing to do, which must write nothing."""
        before = self._versions()
        report = self._run(self.spark)
        if self._versions() != before or report.counts["chunks_embedded"] or report.counts["slices"]:
            self._fault(f"a second run wrote: versions {before} became {self._versions()}, {report.counts}")

    def overtake(self, point: tuple[str, int]) -> None:
        """Starts a second run while the first is at a failpoint. The second takes over, and the first stops writing.

        Not for the commits to `runs`, because a run holds the store's lock there.
        """
        done: list[RunReport] = []

        def second() -> None:
            self.reached[point[0]] += 1
            try:
                self._run(self.spark.newSession())
            except RunActiveError:
                self.story.append("second run refused")
            else:
                self._fault("a second run was not refused")
            done.append(self._run(self.spark.newSession(), take_over=True))

        self.oracle.attempted(self.library.documents)
        try:
            with at(point, second):
                report = self._run(self.spark)
        except RunActiveError:
            self.story.append(f"overtaken at {point}")
            if not done:
                self._fault("a run was refused without another one")
            else:
                self._compare(done[0])
            return
        if done:
            self._fault(f"a run that was overtaken at {point} said success")
        self._compare(report)

    def _run(self, spark: SparkSession, slice_tokens: int | None = None, **options: Any) -> RunReport:
        self.runs += 1
        return run(spark, self.settings(slice_tokens), allow_removals=True, **options)

    def _versions(self) -> list[int]:
        place = self.folder / "lake" / "toy" / "main"
        return [DeltaTable(place / table).version() for table in ("vectors", "ledger")]

    def _compare(self, report: RunReport, retried: bool = False) -> None:
        documents, touched = self.library.documents, self.library.touched
        self.story.append(f"success: {report.how}; {dict(report.counts)}")
        for fault in self.oracle.succeeded(documents, self.folder / "lake" / "toy" / "main"):
            self._fault(fault)
        texts = {
            chunk["text_hash"]
            for doc_id, (text, number) in documents.items()
            if doc_id in touched or retried
            for chunk in chunks_of(doc_id, text, number)
        }
        if report.counts["chunks_embedded"] > len(texts):
            self._fault(f"{report.counts['chunks_embedded']} texts embedded, {len(texts)} touched")
        touched.clear()
        self.settled = True

    def _fault(self, text: str) -> None:
        self.faults.append(f"seed {self.seed}, run {self.runs}: {text[:1500]}")
