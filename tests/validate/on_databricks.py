"""Holds the files for Databricks to what can be had of it without a workspace: its CLI's schema, and its limits.

Run by `make validate-databricks`. Part `bundle` needs the CLI (`databricks` on the PATH), or what `databricks bundle
schema` wrote, as --schema; its license allows both only to users of the platform, so no copy is kept here. Part
`session` runs the job's notebook in a Spark Connect session that refuses what serverless compute refuses, with tables
in a catalog. Part `notebooks` runs all of them there, with the real model, and makes the vector index by the platform's
own client at a stand-in for its service.
"""

import argparse
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jsonschema
import yaml
from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from schemas.errors import InputError  # noqa: E402
from spark_jobs import maintain_space  # noqa: E402
from spark_jobs.search.nearest import SearchOptions  # noqa: E402
from spark_jobs.search_library import answer  # noqa: E402
from spark_jobs.settings import load_settings  # noqa: E402
from spark_jobs.store import read_vectors  # noqa: E402
from spark_jobs.store.properties import SESSION, TRANSACTION  # noqa: E402
from tests.jobs.connect_run import connect, in_one_pass  # noqa: E402
from tests.support.limited_session import Serverless, limited_session  # noqa: E402
from tests.support.small_tables import SHORT_LIVED  # noqa: E402
from tests.support.source_notebooks import Shown, run_notebook  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.real_data import MODEL, need  # noqa: E402

RESULTS = ROOT / "tests" / "validate" / "results" / "databricks.json"
BUNDLE, NOTEBOOKS = ROOT / "conf" / "databricks", ROOT / "notebooks" / "databricks"
# Classes of letters and digits of any language, as Python writes them.
LETTERS = ((r"[\\p{L}\\p{N}]", r"[^\\W_]"), (r"\\p{L}", r"[^\\W\\d_]"))
PARTS = ["bundle", "session", "notebooks"]
# Settings by the notebooks' widgets.
WIDGETS = {"catalog": "store.catalog", "schema": "store.schema", "source_table": "source.table", "model": "model.path"}
_TOO_YOUNG = "this platform does not let a job remove files younger than 168 hours"
# Each is a slip that a person could make, by the place where it is.
SLIPS: list[tuple[str, list[str | int], Any]] = [
    ("a misspelled field of a job", ["max_concurent_runs"], 1),
    ("a task without a key", ["tasks", 0, "task_key"], None),
    ("a number of retries in words", ["tasks", 0, "max_retries"], "twice"),
    ("a state that does not exist", ["queue"], {"enabled": "perhaps"}),
]


def schema_text(path: Path | None) -> str:
    """The schema of bundles: a file's, or what the CLI on this machine says."""
    if path is not None:
        return path.read_text(encoding="utf-8")
    if shutil.which("databricks") is None:
        sys.exit("needs the Databricks CLI on the PATH, or --schema FILE from `databricks bundle schema`")
    return subprocess.run(["databricks", "bundle", "schema"], capture_output=True, text=True, check=True).stdout


def validate_bundle(path: Path | None, version: str) -> Outcome:
    """Holds each file of the bundle to the schema, and the schema to finding slips in one."""
    outcome, text = Outcome("bundle, by the schema of the platform's CLI"), schema_text(path)
    for theirs, ours in LETTERS:
        text = text.replace(theirs, ours)
    schema = json.loads(text)
    validator = jsonschema.validators.validator_for(schema)(schema)
    for file in (BUNDLE / "databricks.yml", *sorted(BUNDLE.glob("resources/*.yml"))):
        faults = sum(1 for _ in validator.iter_errors(yaml.safe_load(file.read_text(encoding="utf-8"))))
        outcome.equal(f"faults in {file.relative_to(BUNDLE)}", faults, 0)
    sound = yaml.safe_load((BUNDLE / "resources" / "maintain.yml").read_text(encoding="utf-8"))
    for what, place, value in SLIPS:
        spoiled = copy.deepcopy(sound)
        node = spoiled["resources"]["jobs"]["maintain"]
        for key in place[:-1]:
            node = node[key]
        if value is None:
            del node[place[-1]]
        else:
            node[place[-1]] = value
        outcome.equal(f"{what} is found", not validator.is_valid(spoiled), True)
    outcome.measured(schema=version, definitions=text.count('"description"'))
    return outcome


@contextmanager
def index_service() -> Iterator[list[tuple[str, str, dict[str, Any]]]]:
    """A stand-in for the platform's service of vector indexes, which knows none yet; yields what it was asked."""
    asked: list[tuple[str, str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            asked.append(("GET", self.path, {}))
            self._answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such index"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(("POST", self.path, body))
            self._answer(200, body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    variables = {"DATABRICKS_HOST": f"http://127.0.0.1:{server.server_port}", "DATABRICKS_TOKEN": "none"}
    try:
        with patch.dict(os.environ, variables):
            yield asked
    finally:
        server.shutdown()
        thread.join()


def validate_session(spark: SparkSession, limits: Serverless) -> Outcome:
    """First load, refresh, search and a second space, by the job's notebook and a stand-in for the model."""
    outcome = Outcome("session, with the limits of serverless compute")
    spark.sql("CREATE SCHEMA shop")
    documents = "spark_catalog.shop.documents"
    rows = [("a", "Owls", "hunt.", "en"), ("b", "Bees", "fly.", "en"), ("c", "Ants", "dig.", "en")]
    made = spark.createDataFrame(rows, "doc_id STRING, title STRING, body STRING, language STRING")
    made = made.selectExpr("*", "'zoo' AS team")
    made.writeTo(documents).using("delta").tableProperty("delta.enableChangeDataFeed", "true").create()
    given = {
        "settings": str(BUNDLE / "settings.yaml"),
        **{"catalog": "spark_catalog", "schema": "shop", "source_table": documents, "model": "fake:8"},
    }
    first = run_notebook(NOTEBOOKS / "embed.py", spark, given)
    spark.sql(f"UPDATE {documents} SET body = 'fly far.' WHERE doc_id = 'b'")
    spark.sql(f"DELETE FROM {documents} WHERE doc_id = 'c'")
    second = run_notebook(NOTEBOOKS / "embed.py", spark, {**given, "allow_removals": "yes"})
    outcome.equal("first load", "3 added" in first.printed and "3 embedded" in first.printed, True)
    changes = ("0 added · 1 changed", "1 removed")
    outcome.equal("refresh", [change for change in changes if change not in second.printed], [])
    outcome.equal(
        "texts in the view", sorted(row["text"] for row in second.tables[-1]), ["Bees fly far.", "Owls hunt."]
    )
    chosen = [f"{key}={given[name]}" for name, key in WIDGETS.items()]
    settings = load_settings(given["settings"], [*chosen, "store.vector_encoding=byte_stream_split"])
    hits = answer(spark, settings, "Bees fly far.", SearchOptions(k=1)).hits
    outcome.equal("nearest document", [hit.doc_id for hit in hits], ["b"])
    # The source is pinned and hashed once for both spaces, and the hashes cannot be kept.
    outcome.equal("two spaces in one pass", in_one_pass(spark, settings), [[0, 0, "None"], [2, 2, "None"]])
    keys = [row.key for row in spark.sql("SHOW TBLPROPERTIES shop.handbook__next__vectors").collect()]
    outcome.equal("made with split columns", "parquet.enable.bytestreamsplit" in keys, False)
    sizes = [len(row.embedding) for row in read_vectors(spark, settings, "next").collect()]
    outcome.equal("numbers of the second space's vectors", sizes, [4, 4])
    must = {"PERSIST TABLE", *TRANSACTION, *SESSION}
    outcome.equal("not refused, and should be", sorted(must - set(limits.refused)), [])
    outcome.measured(refused_calls=len(limits.refused), refused_kinds=len(set(limits.refused)))
    return outcome


def validate_notebooks(spark: SparkSession, limits: Serverless, folder: Path) -> Outcome:
    """Runs every notebook, one after another, in one limited session."""
    need(MODEL)
    outcome = Outcome("notebooks, in a session with the limits of serverless compute")
    spark.sql("CREATE SCHEMA workshop")
    model = str(MODEL.absolute())

    def run(name: str, **given: str) -> Shown:
        print(f"      {name}", flush=True)
        return run_notebook(NOTEBOOKS / f"{name}.py", spark, given)

    tour = run("quick_tour", catalog="spark_catalog", schema="workshop", model=model)
    outcome.equal("quick_tour, first load", "3 added · 0 changed" in tour.printed, True)
    outcome.equal("quick_tour, refresh", "0 added · 1 changed" in tour.printed, True)
    hits = [line.split()[2] for line in tour.printed.splitlines() if line.startswith("  1  ")]
    outcome.equal("quick_tour, best answer", [hit.partition("[")[0] for hit in hits], ["owls"])

    documents = "spark_catalog.workshop.tour_documents"
    spark.sql(f"CREATE VIEW workshop.handbook AS SELECT id AS doc_id, topic AS title, text AS body FROM {documents}")
    settings = yaml.safe_load((BUNDLE / "settings.yaml").read_text(encoding="utf-8"))
    settings["source"]["payload_columns"] = []
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    given = {
        **{"settings": str(file), "catalog": "spark_catalog", "schema": "workshop", "model": model},
        "source_table": "spark_catalog.workshop.handbook",
    }
    table = "spark_catalog.workshop.handbook__main__vectors"
    with index_service() as asked:
        embed = run("embed", **given, index_endpoint="endpoint")
    outcome.equal("embed, documents", "3 added" in embed.printed, True)
    outcome.equal("embed, exit code for later tasks", embed.task_values, {"exit_code": 0})
    (body,) = [body for kind, _, body in asked if kind == "POST"]
    outcome.equal("embed, index", (body["name"], body["primary_key"]), (f"{table}_index", "chunk_id"))
    column = body["delta_sync_index_spec"]["embedding_vector_columns"]
    outcome.equal("embed, column of the index", column, [{"name": "embedding", "embedding_dimension": 384}])
    embed = run("embed", **given)
    outcome.equal("embed again, documents", "0 added · 0 changed" in embed.printed, True)

    upgrade = run("upgrade_model", **given, new_model="fake:64", steps="roll back", question="Who sees at night?")
    outcome.equal("upgrade_model, promoted", "handbook.next is active now, instead of main" in upgrade.printed, True)
    outcome.equal("upgrade_model, next while promoted", "next: active, fake:64, 3 documents" in upgrade.printed, True)
    outcome.equal(
        "upgrade_model, rolled back", "handbook.main is active again, instead of next" in upgrade.printed, True
    )

    operate = run("operate", **given, maintain="yes")
    outcome.equal("operate, faults", re.findall(r"faults +(\w+)", operate.printed), ["none"])
    outcome.equal(
        "operate, page", [page.startswith("<!doctype html>") for page in map(str.lower, operate.pages)], [True]
    )
    outcome.equal("operate, runs in the record", len(operate.tables[0]) > 3, True)
    chosen = load_settings(file, [f"{key}={given[name]}" for name, key in WIDGETS.items()])
    short = chosen.model_copy(update={"maintenance": chosen.maintenance.model_copy(update={"retention_hours": 1})})
    try:
        maintain_space.run(spark, short, force=True)
    except InputError as refusal:
        outcome.equal("maintain --force", str(refusal).partition(".")[0], _TOO_YOUNG)
    outcome.equal("not refused, and should be", sorted({*TRANSACTION, *SESSION} - set(limits.refused)), [])
    outcome.measured(refused_calls=len(limits.refused), refused_kinds=len(set(limits.refused)))
    print(embed.printed[-600:], upgrade.printed[-1500:], operate.printed[-3000:], sep="\n---\n", file=sys.stderr)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--schema", type=Path, help="what `databricks bundle schema` wrote")
    parser.add_argument("--cli", default="of the CLI on this machine", help="version of the CLI that wrote it")
    arguments = parser.parse_args()
    outcomes = []
    if "bundle" in arguments.parts:
        outcomes.append(validate_bundle(arguments.schema, arguments.cli))
    if {"session", "notebooks"} & set(arguments.parts):
        os.environ["PYSPARK_PYTHON"] = sys.executable
        with tempfile.TemporaryDirectory() as folder:
            spark, address = connect(SHORT_LIVED, Path(folder, "warehouse"))
            with limited_session(address) as (limited, limits):
                if "session" in arguments.parts:
                    outcomes.append(validate_session(limited, limits))
                if "notebooks" in arguments.parts:
                    outcomes.append(validate_notebooks(limited, limits, Path(folder)))
            spark.stop()
    for outcome in outcomes:
        write_outcome(RESULTS, outcome, "make validate-databricks")
    faults = [fault for outcome in outcomes for fault in outcome.faults]
    sys.exit("\n".join(faults) or None)


if __name__ == "__main__":
    main()
