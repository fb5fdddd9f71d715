"""Every kind of fault, planted in real tables: found, named, and fixed by a repair and the next run."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql.types import StructType

from schemas.errors import InputError, ReconciliationError, RunActiveError
from schemas.ledger import LEDGER, REDO
from schemas.runs import FINISHED, RUNS, STARTED
from schemas.table import Table
from schemas.vectors import HEADINGS, vectors_table
from spark_jobs import verify_space
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from spark_jobs.store import faults
from spark_jobs.store.tables import delta_session, space_tables

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
WriteJson = Callable[..., str]
Rows = list[dict[str, Any]]

VECTORS = vectors_table(optional=[HEADINGS]).schema
# Each is the id of a document that gets the fault of that name.
ROW_PLANTS = (
    "null-chunk",
    "null-doc",
    "repeated",
    "hash",
    "missing",
    "dimension",
    "nan",
    "inf",
    "null",
    "zero",
    "long",
)
OTHER_PLANTS = ("unlisted", "several", "count", "later", "status", "index")


def long_text(name: str) -> str:
    return f"# {name}\n\n" + f"First part of {name}. " * 12 + "\n\n# Two\n\n" + f"Second part of {name}. " * 12


def load(spark: SparkSession, settings: Settings, table: str) -> Rows:
    with delta_session(spark):
        found: list[Row] = space_tables(spark, settings).read(table).collect()
    return sorted((row.asDict() for row in found), key=lambda row: (str(row["doc_id"]), row.get("chunk_index") or 0))


def save(spark: SparkSession, settings: Settings, table: str, schema: StructType, rows: Rows) -> None:
    values = [tuple(row[name] for name in schema.names) for row in rows]
    with delta_session(spark):
        space_tables(spark, settings).replace(spark.createDataFrame(values, schema), Table(table, "", schema))


def record(spark: SparkSession, settings: Settings, event: str, number: int) -> None:
    row = {
        "library": "toy",
        "space": "main",
        "run_number": number,
        "run_id": f"toy.main.{number}",
        "event": event,
        "event_time": datetime.now().astimezone(),
        "owner": "elsewhere:1:abcd",
    }
    with delta_session(spark):
        rows = spark.createDataFrame([tuple(row.get(name) for name in RUNS.schema.names)], RUNS.schema)
        space_tables(spark, settings).append(rows, RUNS)


def plant_in_vectors(rows: Rows) -> Rows:
    first = {row["doc_id"]: row for row in rows if row["chunk_index"] == 0}
    unit = first["long"]["embedding"]
    broken: dict[str, list[float | None] | None] = {
        "missing": None,
        "dimension": unit[:7],
        "nan": [float("nan"), *unit[1:]],
        "inf": [*unit[:7], float("-inf")],
        "null": [None, *unit[1:]],
        "zero": [0.0] * 8,
        "long": [2 * x for x in unit],
    }
    for doc_id, embedding in broken.items():
        first[doc_id]["embedding"] = embedding
    ghost = {**first["hash"], "doc_id": "ghost", "chunk_id": "ghost-1"}
    copy = dict(first["repeated"])
    first["null-chunk"]["chunk_id"] = None
    first["null-doc"]["doc_id"] = None
    first["hash"]["text"] += " And a word that was not embedded."
    first["breaks"]["text_hash"] = None
    first["later"]["run_id"] = "toy.main.99"
    first["index"]["chunk_index"] = 7
    return [*rows, ghost, copy]


def plant_in_ledger(rows: Rows) -> Rows:
    known = {row["doc_id"]: row for row in rows}
    known["count"]["chunk_count"] += 1
    known["status"]["status"] = "empty"
    return [
        *(row for row in rows if row["doc_id"] != "unlisted"),
        {**known["several"], "attempts": 2},
        {**known["several"], "doc_id": None},
    ]


def found_in(message: str) -> dict[str, tuple[int, set[str]]]:
    found = {}
    for line in message.splitlines():
        if line.startswith("  - "):
            count, rest = line[4:].split(" ", 1)
            fault, _, ids = rest.partition(": documents such as ")
            found[fault] = (int(count), {part.strip("' ") for part in ids.split(",")} - {""})
    return found


def without_run(rows: Rows) -> Rows:
    return [{name: value for name, value in row.items() if name != "run_id"} for row in rows]


def test_every_planted_fault_is_named_and_a_repair_gives_back_the_rows_of_a_fresh_build(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    names = [*ROW_PLANTS, *OTHER_PLANTS, "sound", "breaks"]
    documents = [{"id": name, "text": long_text(name)} for name in names]
    documents += [{"id": "blank", "text": " "}]
    settings = make_settings(write_json(documents), chunking={"max_tokens": 64})
    run(spark, settings)
    documents[-2]["text"] = "FAKE-ENCODER-RAISES now."
    write_json(documents)
    run(spark, settings)

    # Older chunks of a document that now fails are correct, and so is a blank document.
    sound = verify_space.run(spark, settings)
    assert (sound.findings, sound.waiting, sound.removed) == ((), 0, None)
    assert sound.statuses == {"embedded": len(names) - 1, "quarantined": 1, "empty": 1}
    assert "fault      " not in str(sound) and "faults     none" in str(sound)
    with pytest.raises(InputError, match="dimension was 8, is 16"):
        verify_space.run(spark, make_settings("s", chunking={"max_tokens": 64}, model={"path": "fake:16"}))

    good = {"vectors": load(spark, settings, "vectors"), "ledger": load(spark, settings, "ledger")}
    per_document = len([row for row in good["vectors"] if row["doc_id"] == "sound"])
    assert per_document >= 2
    save(spark, settings, "vectors", VECTORS, plant_in_vectors(load(spark, settings, "vectors")))
    save(spark, settings, "ledger", LEDGER.schema, plant_in_ledger(load(spark, settings, "ledger")))
    record(spark, settings, STARTED, 3)
    with pytest.raises(ReconciliationError) as error:
        verify_space.run(spark, settings)
    assert error.value.exit_code == 6
    assert found_in(str(error.value)) == {
        faults.NO_ID: (2, {"null-chunk"}),
        faults.REPEATED: (2, {"repeated"}),
        faults.WRONG_HASH: (2, {"hash", "breaks"}),
        faults.NO_VECTOR: (1, {"missing"}),
        faults.WRONG_DIMENSION: (1, {"dimension"}),
        faults.NOT_FINITE: (3, {"nan", "inf", "null"}),
        faults.ZERO: (1, {"zero"}),
        faults.NOT_UNIT: (1, {"long"}),
        faults.NO_LEDGER_ID: (1, set()),
        faults.ORPHANS: (2, {"ghost", "unlisted"}),
        faults.SEVERAL: (1, {"several"}),
        faults.OTHER_COUNT: (3, {"count", "null-doc", "repeated"}),
        faults.LATER: (1, {"later"}),
        faults.WRONG_STATUS: (1, {"status"}),
        faults.WRONG_INDEX: (3, {"index", "null-doc", "repeated"}),
    }
    # Those of parsed files are found in a library of documents.
    assert set(found_in(str(error.value))) == set(faults.FAULTS) - {faults.REPEATED_FILE, faults.WITHOUT_FILE}
    assert "run toy.main.3 has not ended" in str(error.value) and "verify --repair" in str(error.value)
    assert "First part" not in str(error.value)

    with pytest.raises(RunActiveError, match="elsewhere:1:abcd"):
        verify_space.run(spark, settings, repair=True)
    record(spark, settings, FINISHED, 3)
    repaired = verify_space.run(spark, settings, repair=True)
    assert repaired.removed == 13 and repaired.waiting == len(names)
    assert f"{len(names)} documents, which the next embedlake embed processes again" in str(repaired)
    marked = [row["doc_id"] for row in load(spark, settings, "ledger") if row["text_hash"] == REDO]
    assert sorted(marked) == sorted({*names, "ghost"} - {"sound"})
    # A marked document is not a fault, because a scheduler may verify again before the next run.
    assert verify_space.run(spark, settings).waiting == len(names)

    report = run(spark, settings)
    assert (report.counts["changed"], report.counts["removed"], report.counts["added"]) == (len(names) - 1, 1, 0)
    (kept,) = [row for row in load(spark, settings, "vectors") if row["doc_id"] == "breaks"][:1]
    assert kept["chunk_index"] == 1  # its first chunk was bad, and its current text cannot be embedded
    expected = [row for row in good["vectors"] if (row["doc_id"], row["chunk_index"]) != ("breaks", 0)]
    assert without_run(load(spark, settings, "vectors")) == without_run(expected)
    assert verify_space.run(spark, settings).findings == ()


def test_a_space_that_no_run_has_written_to_is_named(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    with pytest.raises(InputError, match=r"space toy\.main has no table .*run embedlake embed first"):
        verify_space.run(spark, make_settings(write_json([{"id": "a", "text": "Alpha."}])))
