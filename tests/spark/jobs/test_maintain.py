"""Maintenance: removed data is no longer in any file, and current data stays unchanged."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from schemas.errors import InputError, RunActiveError
from schemas.runs import FINISHED, RUNS, STARTED
from schemas.staged import STAGED_CHUNKS, STAGED_VECTORS
from spark_jobs import maintain_space
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from spark_jobs.store.tables import delta_session, space_tables

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
WriteJson = Callable[..., str]

GONE = "secret"
SET_FOR_A_WHILE = (
    "spark.databricks.delta.retentionDurationCheck.enabled",
    "spark.databricks.delta.optimize.maxFileSize",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism",
)


def rows(spark: SparkSession, settings: Settings, table: str) -> list[dict[str, Any]]:
    with delta_session(spark):
        found = space_tables(spark, settings).read(table).orderBy("doc_id").collect()
    return [row.asDict() for row in found]


def append(spark: SparkSession, settings: Settings, table: Any, **values: Any) -> None:
    with delta_session(spark):
        row = spark.createDataFrame([tuple(values.get(name) for name in table.schema.names)], table.schema)
        space_tables(spark, settings).append(row, table)


def event(spark: SparkSession, settings: Settings, name: str, age: timedelta) -> None:
    run_of = {"library": "toy", "space": "main", "run_number": 3, "run_id": "toy.main.3", "owner": "elsewhere:1:abcd"}
    append(spark, settings, RUNS, **run_of, event=name, event_time=datetime.now().astimezone() - age)


def data_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.parquet") if "_delta_log" not in path.parts]


def tables_with(folder: Path, word: str) -> set[str]:
    """Tables of the space with a data file, current or not, that contains the word in a value or in its footer."""
    found = set()
    for path in data_files(folder):
        if word in str(pq.read_table(path, partitioning=None).to_pylist()) or word.encode() in path.read_bytes():
            found.add(path.relative_to(folder).parts[0])
    return found


def staged(spark: SparkSession, settings: Settings) -> dict[str, int]:
    with delta_session(spark):
        tables = space_tables(spark, settings)
        return {name: tables.read(name).count() for name in ("plan", "staged_chunks", "staged_vectors")}


def test_removed_documents_leave_every_file_and_current_rows_stay(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, tmp_path: Path
) -> None:
    documents = [{"id": f"kept-{i}", "text": f"Text of kept document {i}."} for i in range(6)]
    removed = [{"id": f"{GONE}-{i}", "text": f"Words of {GONE} document {i}."} for i in range(3)]
    earlier = [spark.conf.get(key, None) for key in SET_FOR_A_WHILE]
    source = write_json([*documents, *removed])
    settings = make_settings(source, run={"memory_tokens": 0})
    run(spark, settings)
    write_json(documents)
    run(spark, settings, allow_removals=True)
    folder = tmp_path / "lake" / "toy" / "main"
    before = {table: rows(spark, settings, table) for table in ("vectors", "ledger")}
    assert len(before["vectors"]) == 6
    assert tables_with(folder, GONE) == {"vectors", "ledger", "plan", "staged_chunks"}

    hasty = make_settings(source, maintenance={"retention_hours": 0}, run={"memory_tokens": 0})
    paths = data_files(folder)
    with pytest.raises(InputError, match=r"maintenance\.retention_hours is 0, less than the 168 hours .*--force"):
        maintain_space.run(spark, hasty)
    event(spark, settings, STARTED, timedelta(0))
    with pytest.raises(RunActiveError, match="elsewhere:1:abcd"):
        maintain_space.run(spark, hasty, force=True)
    assert data_files(folder) == paths

    # The run that started is dead by now. The texts that it staged are useless; its embeddings are not.
    stale = make_settings(source, run={"stale_after_seconds": 0})
    append(spark, settings, STAGED_CHUNKS, run_id="toy.main.3", slice_number=1, doc_id=f"{GONE}-9", text=GONE)
    append(spark, settings, STAGED_VECTORS, text_hash="0" * 64, embedding=[1.0] * 8)
    report = maintain_space.run(spark, stale)
    assert staged(spark, settings) == {"plan": 0, "staged_chunks": 0, "staged_vectors": 1}
    assert report.kept == 1 and "1 staged vectors of a run that did not finish" in str(report)
    assert (report.before["vectors"].rows, report.after["vectors"].rows) == (6, 6)
    assert report.after["vectors"].files == report.after["ledger"].files == 1
    assert report.after["vectors"].bytes < report.before["vectors"].bytes
    # The files are younger than the retention, so an older version can still be read.
    assert "vectors" in tables_with(folder, GONE)

    event(spark, settings, FINISHED, timedelta(0))
    report = maintain_space.run(spark, hasty, force=True)
    assert tables_with(folder, GONE) == set()
    assert staged(spark, settings) == {"plan": 0, "staged_chunks": 0, "staged_vectors": 0}
    assert report.kept == 0 and "files that no version of the last 0 hours needs" in str(report)
    assert {table: rows(spark, settings, table) for table in before} == before
    assert [spark.conf.get(key, None) for key in SET_FOR_A_WHILE] == earlier
    # Delta's own log outlives the files. It contains ids but never texts.
    logs = [path.read_text() for path in folder.rglob("_delta_log/*.json")]
    assert f"{GONE}-" in "".join(logs) and "ords of" not in "".join(logs)
    # The record of runs grows by a file with each event, and every run reads it.
    assert len(DeltaTable(tmp_path / "lake" / "_embedlake" / "runs").file_uris()) <= 2
    # Compaction writes vectors in the same way as runs.
    (path,) = data_files(folder / "vectors")
    group = pq.ParquetFile(path).metadata.row_group(0)
    (column,) = [c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith("embedding")]
    assert column.compression == "ZSTD" and "BYTE_STREAM_SPLIT" in column.encodings


def test_a_space_that_no_run_has_written_to_is_named(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    with pytest.raises(InputError, match=r"space toy\.main has no table .*run embedlake embed first"):
        maintain_space.run(spark, make_settings(write_json([{"id": "a", "text": "Alpha."}])))
