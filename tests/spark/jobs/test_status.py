"""What `embedlake status` shows about runs and the remaining work."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from schemas.runs import FAILED, FINISHED, RUNS, SLICE_COMMITTED, STARTED
from schemas.spaces import SPACES
from spark_jobs import show_status
from spark_jobs.embed_library import run
from spark_jobs.embedding.backlog import backlog_of
from spark_jobs.settings import Settings
from spark_jobs.store.tables import delta_session, space_tables

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
WriteJson = Callable[..., str]

START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
_LABELS = ("fault", "backlog", "source")


def shown(spark: SparkSession, settings: Settings) -> str:
    out = io.StringIO()
    show_status.run(spark, settings, Console(file=out, width=250))
    return out.getvalue()


def table_rows(text: str, first_column: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    names: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]
        if cells[0] == first_column:
            names = cells
        elif names and line.startswith("│"):
            rows.append(dict(zip(names, cells, strict=True)))
        elif line.startswith("└"):
            names = []
    return rows


def lines_of(text: str) -> dict[str, str]:
    return {line[:11].strip(): line[11:] for line in text.splitlines() if line[:11].strip() in _LABELS}


def add_events(spark: SparkSession, settings: Settings, events: list[dict[str, Any]]) -> None:
    values = [tuple(event.get(name) for name in RUNS.schema.names) for event in events]
    with delta_session(spark):
        space_tables(spark, settings).append(spark.createDataFrame(values, RUNS.schema), RUNS)


def commits(spark: SparkSession, settings: Settings) -> int:
    tables = space_tables(spark, settings)
    names = [tables.name(table) for table in ("vectors", "ledger", "runs", "spaces")]
    return sum(spark.sql(f"DESCRIBE HISTORY {name}").count() for name in names)


def test_status_tells_what_a_run_would_do_and_writes_nothing(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, tmp_path: Path
) -> None:
    def write(rows: list[tuple[str, str, str]]) -> None:
        frame = spark.createDataFrame(rows, "id string, text string, lang string")
        frame.coalesce(1).write.format("delta").mode("overwrite").save(str(tmp_path / "source"))

    source = {"format": "delta", "path": str(tmp_path / "source"), "payload_columns": ["lang"]}
    settings = make_settings("unused", source=source)
    assert "No run has written to this store yet." in (text := shown(spark, settings))
    assert "cannot be read as delta" in lines_of(text)["fault"]

    write([(f"d{i}", f"Text {i}.", "en") for i in range(6)])
    assert lines_of(shown(spark, settings)) == {
        "backlog": "6 added · 0 changed · 0 tried again · 0 with new payload only · 0 removed · 0 unchanged",
        "source": "at version 0; no run has finished yet",
    }
    report = run(spark, settings)
    write([("d0", "Text 0.", "en"), ("d1", "Another.", "en"), ("d2", "Text 2.", "fr"), ("new", "New.", "en")])
    before = commits(spark, settings)
    text = shown(spark, settings)
    lines = lines_of(text)
    assert lines["backlog"] == (
        "1 added · 1 changed · 0 tried again · 1 with new payload only · 3 removed · 1 unchanged"
    )
    assert lines["source"] == "at version 1; the last finished run, number 1, read version 0"
    assert "run would stop here: 3 of 6 documents are gone from the source" in lines["fault"]
    (row,) = table_rows(text, "run")
    assert (row["run"], row["last event"], row["plan"]) == ("toy.main.1", "finished", report.how)
    assert [row[name] for name in ("documents", "slices", "chunks", "quarantined", "message")] == (
        ["6", "1", "6", "0", ""]
    )
    assert commits(spark, settings) == before

    # A run that died left a document half done. The counts equal what the next run finds.
    lost = {"library": "toy", "space": "main", "owner": "elsewhere:1:abcd", "run_number": 2, "run_id": "toy.main.2"}
    add_events(spark, settings, [{**lost, "event": STARTED, "event_time": START}])
    with delta_session(spark):
        vectors = space_tables(spark, settings).name("vectors")
        chunks = spark.table(vectors).where("doc_id = 'd0'").select(F.col("chunk_id").alias("half_done"))
        chunks.mergeInto(vectors, F.col("chunk_id") == F.col("half_done")).whenMatched().delete().merge()
        counted = backlog_of(spark, settings).documents
    assert (counted["retry"], counted["unchanged"]) == (1, 0)
    done = run(spark, settings, allow_removals=True).counts
    assert {change: done[change] for change in counted} == dict(counted)


def test_runs_are_ordered_by_their_numbers_and_those_without_an_end_are_unfinished(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    settings = make_settings(write_json([{"id": "a", "text": "Alpha."}]))
    with delta_session(spark):
        for table in (RUNS, SPACES):
            space_tables(spark, settings).ensure(table)
    events = []
    for number, kinds in {
        1: [STARTED, SLICE_COMMITTED, SLICE_COMMITTED],
        2: [STARTED, SLICE_COMMITTED, FAILED],
        3: [STARTED, FINISHED],
        10: [STARTED, SLICE_COMMITTED],
    }.items():
        for tables, event in enumerate(kinds):
            counts = {"chunks": 5, "tokens_embedded": 70} if event != STARTED else {}
            if event == FINISHED:
                counts |= {"added": 2, "removed": 1, "library_quarantined": 4}
            events.append(
                {
                    "library": "toy",
                    "space": "main",
                    "run_number": number,
                    "run_id": f"toy.main.{number}",
                    "event": event,
                    # The clock was set back repeatedly, so later runs have earlier times.
                    "event_time": START - timedelta(hours=number, minutes=tables),
                    "owner": f"host:{number}:abcd",
                    "slice_number": tables if event == SLICE_COMMITTED else None,
                    "plan": "full comparison" if event == FINISHED else None,
                    "counts": counts,
                    "message": "[CONDITION] It broke." if event == FAILED else None,
                }
            )
    events += [{**events[0], "space": "other", "run_id": "toy.other.1"}]
    add_events(spark, settings, events)
    names = ("run", "last event", "plan", "documents", "slices", "chunks", "tokens embedded", "quarantined", "message")
    assert [tuple(row[name] for name in names) for row in table_rows(shown(spark, settings), "run")] == [
        ("toy.main.10", "unfinished", "", "", "1", "5", "70", "", "at work or dead: host:10:abcd"),
        ("toy.main.3", "finished", "full comparison", "3", "0", "5", "70", "4", ""),
        ("toy.main.2", "failed", "", "", "1", "5", "70", "", "[CONDITION] It broke."),
        ("toy.main.1", "unfinished", "", "", "2", "10", "140", "", "a later run went on"),
        ("toy.other.1", "unfinished", "", "", "0", "0", "0", "", "at work or dead: host:1:abcd"),
    ]
