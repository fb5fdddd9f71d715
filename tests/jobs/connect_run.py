"""Runs the main job in a Spark Connect session, as a shared cluster does, and prints the results as JSON.

Usage: connect_run.py SETTINGS FOLDER. FOLDER contains first.jsonl and edited.jsonl.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pyspark.sql import SparkSession
from pyspark.sql.connect.client import DefaultChannelBuilder
from rich.console import Console

from spark_jobs import search_library
from spark_jobs.embed_library import run, run_spaces
from spark_jobs.runtime.parallelism import task_slots
from spark_jobs.runtime.progress import Progress
from spark_jobs.search.nearest import SearchOptions
from spark_jobs.settings import Settings, load_settings
from spark_jobs.settings.specs import inference_spec
from spark_jobs.store.open_space import read_vectors
from spark_jobs.store.tables import delta_session, space_tables
from udfs.embed import embed_udf

PROPERTIES = {
    "spark.jars.packages": "io.delta:delta-spark_4.2_2.13:4.4.0",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.connect.grpc.binding.port": "0",
    "spark.ui.enabled": "false",
    "spark.driver.host": "localhost",
    "spark.driver.bindAddress": "127.0.0.1",
}
_default_port = DefaultChannelBuilder.default_port


def connect(properties: Mapping[str, str], warehouse: Path) -> tuple[SparkSession, str]:
    """Starts a server on a free port, and connects a session to it; returns its address too."""
    builder, ports = SparkSession.builder.remote("local[2]"), list[int]()
    for key, value in {**PROPERTIES, "spark.sql.warehouse.dir": str(warehouse), **properties}.items():
        builder = builder.config(key, value)

    def port_of_the_server() -> int:
        # Only Spark's own tests ask the server for its port. The variable is set after Java has started, so that Java
        # does not run in test mode.
        with patch.dict(os.environ, SPARK_TESTING="1"):
            ports.append(_default_port())
        return ports[-1]

    with patch.object(DefaultChannelBuilder, "default_port", staticmethod(port_of_the_server)):
        return builder.getOrCreate(), f"sc://localhost:{ports[-1]}"


def rows(spark: SparkSession, settings: Settings, table: str) -> list[dict[str, Any]]:
    with delta_session(spark):
        found = space_tables(spark, settings).read(table).drop("embedding").collect()
    return [row.asDict(recursive=True) for row in found]


def in_sql(spark: SparkSession, settings: Settings, text: str) -> list[list[float] | None]:
    """The stored vector of a text, and the results of `embed_udf` in SQL for the same text, a blank text and null."""
    spark.udf.register("embed", embed_udf(inference_spec(settings)))
    asked = f"VALUES (0, '{text}'), (1, ' '), (2, NULL) AS asked(n, text)"
    made = spark.sql(f"SELECT embed(text) AS v FROM {asked} ORDER BY n")
    stored = read_vectors(spark, settings).where(f"text = '{text}'").selectExpr("embedding AS v").limit(1)
    return [row.v for row in [*stored.collect(), *made.collect()]]


def in_one_pass(spark: SparkSession, settings: Settings) -> list[list[Any]]:
    """Changes, taken chunks and faults of the space and of one whose model is cut to fewer numbers."""
    model = settings.model.model_copy(update={"dimensions": 4})
    outcomes = run_spaces(spark, [settings, settings.model_copy(update={"space": "next", "model": model})])
    counts = [(outcome.report.counts if outcome.report else {}, outcome.error) for outcome in outcomes]
    return [[found.get("added"), found.get("chunks_taken"), repr(error)] for found, error in counts]


def from_feed(spark: SparkSession, settings: Settings) -> list[Any]:
    """What a refresh finds that reads the change feed of a table of the catalog, and how it looked."""

    def write(documents: list[tuple[str, str]], mode: str) -> None:
        rows = spark.createDataFrame(documents, "id string, text string")
        rows.write.format("delta").option("delta.enableChangeDataFeed", "true").mode(mode).saveAsTable("fed")

    given = {"format": "table", "table": "fed", "path": None, "payload_columns": []}
    source = settings.source.model_copy(update=given)
    fed = settings.model_copy(update={"library": "fed", "source": source})
    write([("a", "Owls hunt."), ("b", "Bees fly.")], "error")
    run(spark, fed)
    write([("c", "Ants dig.")], "append")
    report = run(spark, fed)
    return [report.counts["added"], report.counts["unchanged"], report.how.split(" since ")[0]]


def main() -> None:
    settings, folder = load_settings(sys.argv[1]), Path(sys.argv[2])
    source = Path(str(settings.source.path))
    spark, _ = connect(settings.spark.properties, folder / "warehouse")
    assert "connect" in type(spark).__module__, type(spark)
    assert not hasattr(spark, "sparkContext")

    shutil.copyfile(folder / "first.jsonl", source)
    # Show progress as on a terminal, where it follows Spark's tasks. Connect reports them differently.
    terminal = StringIO()
    with Progress(Console(file=terminal, force_terminal=True)).live() as progress:
        reports = [run(spark, settings, progress=progress)]
    assert "slice 1 " in terminal.getvalue() and "100%" in terminal.getvalue()
    reports.append(run(spark, settings))
    shutil.copyfile(folder / "edited.jsonl", source)
    reports.append(run(spark, settings, allow_removals=True))
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "Owls hunt."}')
    search_library.run(spark, settings, str(folder / "queries.jsonl"), str(folder / "hits"), SearchOptions(k=2))
    answer = {
        "counts": [dict(report.counts) for report in reports],
        "vectors": rows(spark, settings, "vectors"),
        "ledger": rows(spark, settings, "ledger"),
        "in_sql": in_sql(spark, settings, "Owls hunt."),
        "slots": task_slots(spark),
        "in_one_pass": in_one_pass(spark, settings),
        "from_feed": from_feed(spark, settings),
    }
    spark.stop()
    print(json.dumps(answer), file=sys.__stdout__)


if __name__ == "__main__":
    os.environ["PYSPARK_PYTHON"] = sys.executable
    # Only the answer goes to standard output.
    with redirect_stdout(sys.stderr):
        main()
