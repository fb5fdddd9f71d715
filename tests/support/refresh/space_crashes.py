"""Real kills of promotions, rollbacks, removals and exports: one space is active, and every reader is served."""

import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import yaml

from spark_jobs.settings import Settings, load_settings
from tests.support.refresh.oracle import query
from tests.support.template import write_documents
from udfs.encoders.fake import FakeEncoder

DIMENSIONS = {"main": 8, "next": 16}
DOCUMENTS = {f"d{number:02}": f"Owls hunt mouse {number}." for number in range(30)}
_SWITCH = ["spaces.before:1", "spaces.after:1"]
# Verbs with the space that is active when they are called, and with the commits where they can be killed.
KILLS = {
    "promote": ("main", _SWITCH),
    "rollback": ("next", _SWITCH),
    "drop": ("next", ["runs.before:1", "runs.after:1", *_SWITCH, "drop.before:1", "drop.after:1", "runs.before:2"]),
    # `next` is active, and the target has the vectors of `main`.
    "export": (
        "next",
        ["exports.before:1", "exports.after:1", "export.finish:1", "exports.before:2", "exports.after:2"],
    ),
}


@dataclass
class SpaceRig:
    """Two stores where rounds start: one before a promotion, one after it, with a target that has the old space."""

    folder: Path
    command: list[str]
    environment: dict[str, str]
    properties: dict[str, str]
    # Does a verb to its end on the settings in a live session, with the arguments of the command.
    do: Callable[[str, Settings, list[str]], object]
    # Reads the active space's rows as a user would.
    read: Callable[[Settings], list[Any]]

    def prepare(self) -> None:
        """Builds both spaces, exports the first, and promotes the second in one of two copies."""
        rows = [{"id": key, "text": text} for key, text in DOCUMENTS.items()]
        write_documents(rows, self.folder / "source.jsonl")
        for space in DIMENSIONS:
            self.do("embed", self.settings("main", space), [])
        self.do("export", self.settings("main"), self.options("export", "main"))
        shutil.copytree(self.folder / "main", self.folder / "next")
        self.do("promote", self.settings("next"), ["--space", "next"])

    def round(self, name: str, verb: str, point: str) -> dict[str, Any]:
        """Kills a verb at a failpoint, looks, repeats it and looks again.

        Returns:
            What happened, with the faults; none if all is well.
        """
        start, _ = KILLS[verb]
        shutil.copytree(self.folder / start, self.folder / name)
        killed = self._kill(verb, name, point)
        faults = [f"after the kill: {fault}" for fault in self._faults(name)]
        if killed.returncode not in (-signal.SIGKILL, 0):
            faults.append(f"the command ended with {killed.returncode}: {killed.stderr[-800:]}")
        expected = self._expected(verb, name)
        try:
            if expected is not None:
                self.do(verb, self.settings(name), self.options(verb, name))
        except Exception as error:  # any error counts as a fault of this round only
            faults.append(f"repeated: {error!r}"[:800])
        faults += [f"in the end: {fault}" for fault in self._faults(name)]
        if expected is not None and self._active(name) != [expected]:
            faults.append(f"{self._active(name)} instead of {expected} is active in the end")
        if verb == "export" and self._width_of_target(name) != DIMENSIONS["next"]:
            faults.append("the target does not have the active space in the end")
        shutil.rmtree(self.folder / name)
        return {"verb": verb, "point": point, "killed": killed.returncode == -signal.SIGKILL, "faults": faults}

    def _expected(self, verb: str, name: str) -> str | None:
        """The space that is active once the verb is repeated; None if it must not be, because it has done its work."""
        # A second rollback would go forward again.
        if verb == "rollback":
            return None if self._active(name) == ["main"] else "main"
        if verb == "drop":
            states = self._newest(name)
            is_gone = not (self.folder / name / "toy" / "main").exists()
            return None if is_gone and states["main"]["state"] == "dropped" else "next"
        return "next"

    def settings(self, name: str, space: str = "main") -> Settings:
        """Settings of a space in a copy of the store; also writes its settings file."""
        values = {
            "library": "toy",
            "store": {"path": str(self.folder / name)},
            "source": {
                "format": "json",
                "path": str(self.folder / "source.jsonl"),
                "id_column": "id",
                "text_columns": ["text"],
            },
            "model": {"path": "fake:8"},
            "promotion": {"keep_days": 0},
            "spark": {"master": "local[2]", "properties": self.properties},
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return load_settings(path, [f"space={space}", f"model.path=fake:{DIMENSIONS[space]}"])

    def options(self, verb: str, name: str) -> list[str]:
        """Further arguments of a verb."""
        target = self.folder / name / "target"
        return {
            "promote": ["--space", "next"],
            "drop": ["--space", "main"],
            "export": ["--to", f"parquet:{target}"],
        }.get(verb, [])

    def _kill(self, verb: str, name: str, point: str) -> subprocess.CompletedProcess[str]:
        self.settings(name)
        return subprocess.run(
            [*self.command, verb, "--config", str(self.folder / f"{name}.yaml"), *self.options(verb, name)],
            env={**self.environment, "TEST_FAILPOINT": f"{point}:kill"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def _newest(self, name: str) -> dict[str, dict[str, Any]]:
        columns = "space, state, active, number"
        rows = query(self.folder / name / "_embedlake" / "spaces", f"select {columns} from t where change <> 'refused'")
        return {row["space"]: row for row in sorted(rows, key=lambda row: row["number"])}

    def _active(self, name: str) -> list[str]:
        return [space for space, row in self._newest(name).items() if row["active"]]

    def _faults(self, name: str) -> list[str]:
        """What is wrong with the registry, with what readers get, and with the target."""
        active = self._active(name)
        if len(active) != 1:
            return [f"active: {active}"]
        faults = []
        try:
            rows = {row.doc_id: row for row in self.read(self.settings(name))}
        except Exception as error:  # what a reader would see
            return [f"a reader of {active[0]} got {error!r}"[:800]]
        vectors = FakeEncoder(DIMENSIONS[active[0]]).encode(list(DOCUMENTS.values()))
        found = [rows[key].embedding for key in DOCUMENTS if key in rows]
        if len(rows) != len(DOCUMENTS) or not np.array_equal(np.array(found, np.float32), vectors):
            faults.append(f"a reader got other vectors than those of {active[0]}")
        width = self._width_of_target(name)
        if width not in DIMENSIONS.values():
            faults.append(f"the target has {width}")
        return faults

    def _width_of_target(self, name: str) -> object:
        """The number of entries of each vector in the target; a sentence if it is not whole, or a mixture."""
        folder = self.folder / name / "target"
        files = [
            str(path) for path in folder.rglob("*.parquet") if not any(p.startswith((".", "_")) for p in path.parts)
        ]
        table = ds.dataset(files).to_table(columns=["doc_id", "embedding"])
        widths = {len(value) for value in table["embedding"].to_pylist()}
        if table.num_rows != len(DOCUMENTS) or len(widths) != 1:
            return f"{table.num_rows} rows with {sorted(widths)} numbers"
        return widths.pop()


def kills(rounds: int, seed: int) -> list[tuple[str, str]]:
    """Draws the verbs and failpoints of a number of rounds: each once, then again, in random order."""
    every = [(verb, point) for verb, (_, points) in KILLS.items() for point in points]
    generator, drawn = random.Random(seed), list[tuple[str, str]]()
    while len(drawn) < rounds:
        drawn += generator.sample(every, len(every))
    return drawn[:rounds]
