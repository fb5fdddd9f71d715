"""Real kills: SIGKILL ends an embedding process at a commit. After a second run, nothing may be missing."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.refresh.library import Library
from tests.support.refresh.machine import FAILPOINTS
from tests.support.refresh.oracle import MAX_TOKENS, Oracle, chunks_of, query


@dataclass
class Rig:
    """A store with the library's first state, where every round starts, and the second state that it must reach."""

    folder: Path
    command: list[str]
    environment: dict[str, str]
    properties: dict[str, str]
    seed: int
    # Runs the job to its end on a settings file in a live session. Only a run that is killed needs its own process.
    run: Callable[[Path], object]
    # Number of edits to the library before each of its two states.
    edits: int = 120

    def __post_init__(self) -> None:
        self.library = Library(self.folder / "source", self.seed)

    def prepare(self) -> None:
        """Loads the first state and changes the source to the second."""
        self.library.change(self.edits)
        self.library.publish()
        self._settings("base")
        self.run(self.folder / "base.yaml")
        self.base = Oracle()
        self.base.attempted(self.library.documents)
        self._expect(self.base, "base")
        self.library.touched.clear()
        self.library.change(self.edits)
        self.library.publish()

    def round(self, name: str, point: tuple[str, int]) -> dict[str, Any]:
        """Kills a refresh at a failpoint and runs it again.

        Returns:
            What happened: the exit codes, the number of embedded texts, and the faults (none if all is well).
        """
        shutil.copytree(self.folder / "base", self.folder / name)
        self._settings(name)
        killed = self._embed(name, TEST_FAILPOINT=f"{point[0]}:{point[1]}:kill")
        need = len(self._wanted() - self._durable(name))
        went_wrong = self._go_on(name)
        oracle = Oracle({doc_id: set(allowed) for doc_id, allowed in self.base.served.items()})
        oracle.attempted(self.library.documents)
        faults = []
        if killed.returncode not in (-signal.SIGKILL, 0):
            faults.append(f"the first run ended with {killed.returncode}: {killed.stderr[-800:]}")
        embedded = None
        if went_wrong:
            faults.append(f"the second run {went_wrong}")
        else:
            faults += oracle.succeeded(self.library.documents, self._space(name))
            embedded = self._embedded(name)
            if embedded > need:
                faults.append(f"{embedded} texts embedded by the second run, {need} had no durable vector")
        shutil.rmtree(self.folder / name)
        return {
            "point": f"{point[0]}:{point[1]}",
            "killed": killed.returncode == -signal.SIGKILL,
            "without_durable_vector": need,
            "embedded_again": embedded,
            "faults": faults,
        }

    def _go_on(self, name: str) -> str:
        try:
            self.run(self.folder / f"{name}.yaml")
        except Exception as error:  # any error counts as a fault of this round only
            return f"failed: {error!r}"[:800]
        return ""

    def _embed(self, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, "embed", "--config", str(self.folder / f"{name}.yaml")],
            env={**self.environment, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def _space(self, name: str) -> Path:
        return self.folder / name / "toy" / "main"

    def _expect(self, oracle: Oracle, name: str) -> None:
        faults = oracle.succeeded(self.library.documents, self._space(name))
        if faults:
            raise RuntimeError("; ".join(faults))

    def _settings(self, name: str) -> None:
        values = {
            "library": "toy",
            "store": {"path": str(self.folder / name)},
            "source": {
                "format": "delta",
                "path": str(self.library.folder),
                "id_column": "id",
                "text_columns": ["text"],
                "payload_columns": ["n"],
            },
            "chunking": {"max_tokens": MAX_TOKENS},
            "model": {"path": "fake:8"},
            "run": {"max_quarantined_fraction": 1.0, "max_removed_fraction": 1.0, "slice_tokens": 900},
            "spark": {"master": "local[2]", "properties": self.properties},
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(values))

    def _wanted(self) -> set[str]:
        return {
            chunk["text_hash"]
            for doc_id in self.library.touched & self.library.documents.keys()
            for chunk in chunks_of(doc_id, *self.library.documents[doc_id])
        }

    def _durable(self, name: str) -> set[str]:
        stored = query(self._space(name) / "vectors", "select text_hash from t")
        folder = self._space(name) / "staged_vectors"
        # A small run stages nothing.
        staged = query(folder, "select text_hash from t where reason is null") if folder.exists() else []
        return {row["text_hash"] for row in stored + staged}

    def _embedded(self, name: str) -> int:
        rows = query(self.folder / name / "_embedlake" / "runs", "select run_number, event, counts from t")
        last = max(row["run_number"] for row in rows)
        (counts,) = [dict(row["counts"]) for row in rows if row["run_number"] == last and row["event"] == "finished"]
        return counts["chunks_embedded"]


def points(rounds: int, seed: int) -> list[tuple[str, int]]:
    """Draws the failpoints for a number of rounds: each once, then again, in random order."""
    drawn: list[tuple[str, int]] = []
    generator = random.Random(seed)
    while len(drawn) < rounds:
        drawn += generator.sample(FAILPOINTS, len(FAILPOINTS))
    return drawn[:rounds]


def clean_environment() -> dict[str, str]:
    """This process's environment without the variables of other tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDLAKE_", "TEST_FAILPOINT"))}
