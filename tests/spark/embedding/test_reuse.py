"""Which finished vectors a slice reads, and how many rows its commit may change."""

from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql.types import LongType, StructField

from schemas.ledger import EMBEDDED, LEDGER
from spark_jobs.embedding.documents import as_plan, only_differing, only_removed
from spark_jobs.embedding.plan import _added_up
from spark_jobs.embedding.reuse import is_in, places_of

pytestmark = pytest.mark.spark

STAGED = "run_number long, slice_number int, text_hash string, reason string"


def test_vectors_are_counted_by_the_slice_that_staged_them(spark: SparkSession) -> None:
    rows = [
        (1, 1, "owl", None),
        (1, 1, "bee", None),
        (1, 2, "elm", None),
        (1, 2, "oak", "invalid_vector"),
        # Staged before rows had a run and a slice.
        (None, None, "owl", None),
        (2, 1, "oak", None),
    ]
    staged = spark.createDataFrame(rows, STAGED)
    hashes = spark.createDataFrame([("owl",), ("oak",), ("ash",)], "text_hash string")
    places = places_of(staged, hashes).collect()
    assert {(row.run_number, row.slice_number): (row.rows, row.texts) for row in places} == {
        (1, 1): (2, 1),
        (1, 2): (2, 0),
        (None, None): (1, 1),
        (2, 1): (1, 1),
    }
    place = Row("run_number", "slice_number")
    found = staged.where(is_in([place(None, None), place(1, 2), place(1, 3), place(2, 2)])).collect()
    assert sorted(row.text_hash for row in found) == ["elm", "oak", "owl"]
    assert staged.where(is_in([])).count() == 0


def test_a_plan_counts_the_rows_that_a_commit_changes_without_embedding(spark: SparkSession) -> None:
    def row(doc_id: str, text_hash: str, payload_hash: str, chunks: int) -> dict[str, Any]:
        return {"doc_id": doc_id, "text_hash": text_hash, "payload_hash": payload_hash, "chunk_count": chunks}

    stored = [row("new payload", "t", "p", 4), row("new text", "t", "p", 3), row("gone", "t", "p", 2)]
    ledger = spark.createDataFrame([{**each, "status": EMBEDDED, "attempts": 1} for each in stored], LEDGER.schema)
    documents = spark.createDataFrame(
        [
            ("new payload", "Owls.", None, None, "t", "other", (1,)),
            ("new text", "Bees.", None, None, "other", "p", (1,)),
            ("added", "Elms.", None, None, "t", "p", (1,)),
        ],
        "doc_id string, text string, context string, refused struct<reason: string, detail: string>, text_hash string, "
        "payload_hash string, payload struct<n: long>",
    )
    payload = [StructField("n", LongType())]
    plan = as_plan(only_differing(documents, ledger), only_removed(ledger, documents), payload)
    run: Any = SimpleNamespace(tables=SimpleNamespace(read=lambda _: plan))
    _, groups, (documents, _) = _added_up(run)
    assert documents == 4
    # Stored chunks of all, and one more for each document without text to embed.
    assert sum(group.rows for group in groups) == (4 + 1) + 3 + (2 + 1) + 0
    assert sorted(group.rows for group in groups) == [0, 3, 3, 5]
