"""A library, a cluster, and a local run of the same, which runs on the cluster are compared with."""

import json
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from deltalake import DeltaTable

from tests.support.event_log import event_log_properties
from tests.support.small_tables import FIRST_COMPILER
from tests.support.standalone import Cluster, Worker, free_port, standalone_cluster
from tests.support.submitting import Done, Submitter
from tests.validate.outcome import Outcome
from tests.validate.real_data import MODEL, Document, Step, read_steps, write_source
from tests.validate.store_files import differing_columns, matrix_of, read_rows

EDITIONS = ["2025-01-01", "2026-01-01"]
# Ids of the library that are kept: about 640 documents, 130,000 tokens.
MOST = 800
# So many of the real changes make the refresh.
CHANGES = {"inserted": 20, "updated": 60, "deleted": 10}
QUESTION = "How do I list the files of an archive?"
# The model, and the stand-in where it does not matter how long a text takes.
REAL, FAKE = str(MODEL), "fake:32"
# Batches are formed differently, so sums are taken in another order.
VECTOR_TOLERANCE = 1e-5
EXECUTOR = {"spark.executor.memory": "1g", "spark.executor.extraJavaOptions": FIRST_COMPILER}
# A first load stages its rows in one slice of several tasks; a refresh holds them on the driver.
RUN = {"memory_tokens": 100_000, "slice_tokens": 300_000, "max_removed_fraction": 0.9}


@dataclass
class Lab:
    """Folders, the two states of the library, and what a local session makes of them.

    Attributes:
        folder: Where everything goes.
        submit: Starts jobs in a local session; `Submitter.at` names another master.
        documents: The two states.
        taken: Figures of the local session by model and job, kept for the next sitting.
    """

    folder: Path
    submit: Submitter
    documents: list[list[Document]] = field(default_factory=list)
    taken: dict[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        """Reads the library."""
        first, second = read_steps("tldr-en", EDITIONS, MOST)
        self.documents = [first.documents, refreshed(first, second)]
        record = self.folder / "local.json"
        self.taken = json.loads(record.read_text()) if record.exists() else {}

    def first(self, model: str = REAL) -> Path:
        """The store after a local first load."""
        store = self.folder / f"first-{_name(model)}"
        if not store.exists():
            place = self.place(f"local-{_name(model)}", model=model)
            self._note(model, place.load(self.submit))
            shutil.copytree(place.store, store)
        return store

    def second(self, model: str = REAL) -> Path:
        """The store after a local refresh."""
        self.first(model)
        place = Place(self, self.folder / f"local-{_name(model)}", model)
        if "refresh seconds" not in self.taken[_name(model)]:
            self._note(model, place.refresh(self.submit))
        return place.store

    def served(self, model: str = REAL) -> "Place":
        """What a local session exports; its hits are noted."""
        self.second(model)
        place = Place(self, self.folder / f"local-{_name(model)}", model)
        if "hits" not in self.taken[_name(model)]:
            self._note(model, place.serve(self.submit))
        return place

    def local(self, model: str = REAL) -> dict[str, Any]:
        """The figures of the local session so far."""
        return dict(self.taken[_name(model)])

    def _note(self, model: str, figures: dict[str, Any]) -> None:
        self.taken[_name(model)] = {**self.taken.get(_name(model), {}), **figures}
        (self.folder / "local.json").write_text(json.dumps(self.taken))

    def place(self, name: str, store: Path | None = None, model: str = REAL) -> "Place":
        """A store and a source of its own; `store` is copied into it."""
        place = Place(self, self.folder / name, model)
        # Of an earlier sitting.
        shutil.rmtree(place.folder, ignore_errors=True)
        place.folder.mkdir(parents=True)
        if store is not None:
            shutil.copytree(store, place.store)
        return place

    @contextmanager
    def cluster(self, name: str, workers: int = 2, **variables: str) -> Iterator[tuple[Cluster, Submitter]]:
        """Starts workers of one core each, whose events are kept in the folder `events` of the part."""
        given = [Worker(dict(variables)) for _ in range(workers)]
        with standalone_cluster(self.folder / name / "cluster", given, self.submit.environment, memory="2g") as cluster:
            log = event_log_properties(self.folder / name / "events")
            yield cluster, self.submit.at(cluster.master, {**EXECUTOR, **log})


@dataclass(frozen=True)
class Place:
    """A part's own store and source."""

    lab: Lab
    folder: Path
    model: str

    @property
    def store(self) -> Path:
        return self.folder / "lake"

    @property
    def space(self) -> Path:
        return self.store / "tldr" / "main"

    def settings(self, **sections: dict[str, Any]) -> Path:
        """Writes the settings."""
        source = {"format": "parquet", "path": str(self.folder / "source"), "id_column": "doc_id"}
        values: dict[str, Any] = {
            "library": "tldr",
            "store": {"path": str(self.store)},
            "source": {**source, "text_columns": ["text"], "payload_columns": ["lang", "platform"]},
            # Vectors of two backends or types would differ by more than rounding.
            "model": {"path": self.model, **({} if self.model.startswith("fake:") else {"dtype": "float32"})},
            "inference": {"backend": "torch"},
            "run": RUN,
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section}
        path = self.folder / "settings.yaml"
        path.write_text(json.dumps(values))
        return path

    def write(self, state: int) -> None:
        """Puts a state of the library into the source."""
        write_source(self.folder / "source", self.lab.documents[state])

    def load(self, submit: Submitter) -> dict[str, Any]:
        """Loads the first state, and returns figures."""
        self.write(0)
        return self.figures("first load", succeeded(submit("embed_library", "--config", self.settings())))

    def refresh(self, submit: Submitter) -> dict[str, Any]:
        """Loads the second state, and returns figures."""
        self.write(1)
        return self.figures("refresh", succeeded(submit("embed_library", "--config", self.settings())))

    def serve(self, submit: Submitter) -> dict[str, Any]:
        """Searches and exports, and returns figures and the hits."""
        config = ("--config", self.settings())
        searched = succeeded(submit("search_library", *config, QUESTION, "-k", "5", "--json"))
        to = f"parquet:{self.folder / 'served'}"
        exported = succeeded(submit("export_library", *config, "--to", to))
        return {
            "hits": hits_of(searched),
            "search seconds": round(searched.elapsed, 1),
            "export seconds": round(exported.elapsed, 1),
        }

    def figures(self, what: str, done: Done) -> dict[str, Any]:
        """What a run took."""
        return {
            f"{what} seconds": round(done.elapsed, 1),
            f"{what} commits": self.commits(),
            f"{what} texts embedded": self.embedded(),
        }

    def commits(self) -> dict[str, int]:
        """The versions of every table of the store."""
        logs = sorted(self.store.rglob("_delta_log"))
        return {log.parent.name: DeltaTable(log.parent).version() + 1 for log in logs}

    def embedded(self) -> int:
        """The texts that the last run has embedded, by its record."""
        rows = read_rows(self.store / "_embedlake" / "runs", "run_number, event, counts").to_pylist()
        last = [row for row in rows if row["event"] == "finished"][-1]
        return int(dict(last["counts"])["chunks_embedded"])

    def compare(self, outcome: Outcome, what: str, other: Path, with_runs: bool = True) -> None:
        """Holds the tables to those of another store, row by row."""
        theirs = other / "tldr" / "main"
        one, two = (read_rows(space / "vectors") for space in (self.space, theirs))
        differing = differing_columns(one, two)
        if with_runs and one.num_rows == two.num_rows and one["run_id"] != two["run_id"]:
            differing.append("run_id")
        outcome.equal(f"{what}: columns of vectors that differ, of {two.num_rows:,} rows", differing, [])
        if "rows" not in differing:
            distance = float(np.abs(matrix_of(one) - matrix_of(two)).max())
            outcome.at_most(f"{what}: largest difference of a vector's number", distance, VECTOR_TOLERANCE)
        mine, yours = (read_rows(space / "ledger") for space in (self.space, theirs))
        names = [name for name in yours.column_names if with_runs or name != "run_id"]
        wrong = [name for name in names if mine.num_rows != yours.num_rows or mine[name] != yours[name]]
        outcome.equal(f"{what}: columns of the ledger that differ, of {yours.num_rows:,} rows", wrong, [])

    def served_rows(self) -> Any:
        """The exported rows in order of their ids, without vectors."""
        table = ds.dataset(self.folder / "served", format="parquet").to_table()
        return table.drop_columns([name for name in ("embedding", "run_id") if name in table.column_names]).sort_by(
            "chunk_id"
        )


def _name(model: str) -> str:
    return "real" if model == REAL else "fake"


def refreshed(first: Step, second: Step) -> list[Document]:
    """The first state with some of the real changes."""
    chosen = {kind: sorted(getattr(second, kind))[:most] for kind, most in CHANGES.items()}
    after = {document["doc_id"]: document for document in second.documents}
    taken = {name: after[name] for name in chosen["inserted"] + chosen["updated"]}
    kept = {document["doc_id"]: document for document in first.documents if document["doc_id"] not in chosen["deleted"]}
    return list({**kept, **taken}.values())


def succeeded(done: Done) -> Done:
    """Stops the campaign if a job failed that must not."""
    if done.code != 0:
        raise SystemExit(f"exit code {done.code}: {done.text[-3000:]}")
    return done


def hits_of(done: Done) -> list[list[Any]]:
    """The hits of a search, each with a rounded score."""
    found = [json.loads(line) for line in done.text.splitlines() if line.startswith("{")]
    return [[hit["chunk_id"], round(hit["score"], 4)] for hit in found]


def watched(submit: Submitter) -> tuple[Submitter, int]:
    """A submitter whose driver answers questions at a port of its own."""
    port = free_port()
    return submit.at(submit.master, {"spark.ui.enabled": "true", "spark.ui.port": str(port)}), port


def active_stages(port: int) -> list[Mapping[str, Any]]:
    """The stages that a driver has at work; none while it does not answer."""
    base = f"http://127.0.0.1:{port}/api/v1/applications"
    try:
        (application,) = _answer(base)
        return list(_answer(f"{base}/{application['id']}/stages?status=active"))
    except (OSError, ValueError):
        return []


def _answer(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=5) as response:
        return json.loads(response.read())
