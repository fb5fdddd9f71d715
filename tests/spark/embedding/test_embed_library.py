"""The main job from source rows to stored vectors, on real Delta tables with the fake model."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import Row, SparkSession

from schemas.errors import InputError, QuarantineLimitError
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from spark_jobs.store import failpoints
from spark_jobs.store.failpoints import SimulatedCrash
from spark_jobs.store.tables import delta_session, space_tables
from tests.support.refresh.machine import at
from udfs.chunk_documents import chunk_id
from udfs.encoders.fake import FakeEncoder, FakeTokenCounter

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
WriteJson = Callable[..., str]


def rows(spark: SparkSession, settings: Settings, table: str) -> list[Row]:
    key = {"vectors": ["doc_id", "chunk_index"], "ledger": ["doc_id"], "runs": ["event_time"], "spaces": ["space"]}
    with delta_session(spark):
        return space_tables(spark, settings).read(table).orderBy(*key[table]).collect()


def commits(spark: SparkSession, settings: Settings, table: str) -> int:
    return spark.sql(f"DESCRIBE HISTORY {space_tables(spark, settings).name(table)}").count()


def newest_operation(spark: SparkSession, vectors: Path) -> str:
    return str(spark.sql(f"DESCRIBE HISTORY delta.`{vectors}` LIMIT 1").collect()[0].operation)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def expected_row(settings: Settings, doc_id: str, index: int, text: str, start: int, **payload: Any) -> dict[str, Any]:
    """A row of vectors, built without any of the job's own steps except the model and the chunk id."""
    return {
        "chunk_id": chunk_id(settings.library, doc_id, sha256(text), 0),
        "doc_id": doc_id,
        "chunk_index": index,
        "char_start": start,
        "char_end": start + len(text),
        "text": text,
        "headings": [],
        "text_hash": sha256(text),
        "token_count": FakeTokenCounter().inputs([text])[0],
        "truncated": False,
        **payload,
    }


def assert_rows(found: list[Row], expected: list[dict[str, Any]]) -> None:
    assert [{k: v for k, v in row.asDict().items() if k not in ("embedding", "run_id")} for row in found] == expected
    matrix = np.array([row.embedding for row in found], dtype=np.float32)
    assert np.array_equal(matrix, FakeEncoder(8).encode([row["text"] for row in expected]))


# Worth its time: this test checks everything that a first load leaves behind, so that no other test has to.
def test_first_load_writes_every_document_and_the_second_run_writes_nothing(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_json(
        [
            {"id": "b", "title": "Owls", "body": "They hunt at night.", "n": 2, "tags": ["x"]},
            {"id": "a", "title": "Bees", "body": None, "n": 1, "tags": []},
            {"id": "c", "title": None, "body": "  \n ", "n": 3, "tags": None},
            {"id": "d", "title": "", "body": "FAKE-ENCODER-NAN", "n": 4, "tags": None},
            {"id": "e", "title": "Bees", "body": "", "n": None, "tags": ["y", "z"]},
        ]
    )
    columns = {"text_columns": ["title", "body"], "text_separator": "\n\n", "payload_columns": ["n", "tags"]}
    settings = make_settings(source, source=columns)
    codec, reader = "spark.sql.parquet.compression.codec", "spark.sql.parquet.enableNestedColumnVectorizedReader"
    spark.conf.set(codec, "snappy")
    passed: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "failpoint", passed.append)
        report = run(spark, settings)
    assert (spark.conf.get(codec), spark.conf.get(reader)) == ("snappy", "true"), "the session is left as it was"
    spark.conf.unset(codec)

    commits_made = [name.removesuffix(".after") for name in passed if name.endswith(".after")]
    assert commits_made == ["spaces", "runs", "vectors", "ledger", "runs"]
    assert_rows(
        rows(spark, settings, "vectors"),
        [
            expected_row(settings, "a", 0, "Bees", 0, n=1, tags=[]),
            expected_row(settings, "b", 0, "Owls\n\nThey hunt at night.", 0, n=2, tags=["x"]),
            expected_row(settings, "e", 0, "Bees", 0, n=None, tags=["y", "z"]),
        ],
    )
    ledger = {row.doc_id: row for row in rows(spark, settings, "ledger")}
    assert {key: (row.status, row.reason, row.chunk_count, row.attempts) for key, row in ledger.items()} == {
        "a": ("embedded", None, 1, 1),
        "b": ("embedded", None, 1, 1),
        "c": ("empty", None, 0, 1),
        "d": ("quarantined", "invalid_vector", 0, 1),
        "e": ("embedded", None, 1, 1),
    }
    assert ledger["b"].text_hash == sha256("Owls\n\nThey hunt at night.")
    wanted = {"added": 5, "unchanged": 0, "chunks": 4, "chunks_embedded": 3, "chunks_reused": 1, "chunks_failed": 1}
    assert {key: report.counts[key] for key in wanted} == wanted
    # Rows of new documents are appended, with no second copy for the change feed.
    vectors = Path(str(settings.store.path), "toy", "main", "vectors")
    made = ("CREATE TABLE AS SELECT", False)
    assert (newest_operation(spark, vectors), vectors.joinpath("_change_data").exists()) == made

    before = {table: commits(spark, settings, table) for table in ("vectors", "ledger")}
    again = run(spark, settings)
    assert {table: commits(spark, settings, table) for table in ("vectors", "ledger")} == before
    assert (again.counts["unchanged"], again.counts["added"], again.counts["chunks_embedded"]) == (5, 0, 0)
    assert [row.event for row in rows(spark, settings, "runs")] == [
        "started",
        "finished",
        "finished",
    ]


# Worth its time: one refresh has every kind of change, and the refused runs before and after it do not touch its rows.
def test_refresh_follows_every_kind_of_change(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    sections = {
        "source": {"payload_columns": ["lang"]},
        "run": {"max_quarantined_fraction": 1.0, "max_removed_fraction": 0.1},
    }
    long = "# One\n\n" + "First part says this. " * 20 + "\n\n# Two\n\n" + "Second part says that. " * 20
    before = [
        {"id": "same", "text": "Stays as it is.", "lang": "en"},
        {"id": "edited", "text": long, "lang": "en"},
        {"id": "relabelled", "text": "Keeps its text.", "lang": "en"},
        {"id": "gone", "text": "Will go.", "lang": "en"},
        {"id": "emptied", "text": "Will be blank.", "lang": "en"},
        {"id": "breaks", "text": "Good at first.", "lang": "en"},
    ]
    after = [
        {"id": "same", "text": "Stays as it is.", "lang": "en"},
        {"id": "edited", "text": "A new start. " + long, "lang": "en"},
        {"id": "relabelled", "text": "Keeps its text.", "lang": "fr"},
        {"id": "emptied", "text": " ", "lang": "en"},
        {"id": "breaks", "text": "FAKE-ENCODER-RAISES now.", "lang": "de"},
        {"id": "new", "text": "Keeps its text.", "lang": "en"},
    ]
    settings = make_settings(write_json(before), chunking={"max_tokens": 64}, **sections)
    run(spark, settings)
    old = {row.chunk_id: row for row in rows(spark, settings, "vectors")}
    write_json(after)
    with pytest.raises(InputError, match="1 of 6 documents are gone from the source"):
        run(spark, settings)
    assert {row.chunk_id: row for row in rows(spark, settings, "vectors")} == old
    report = run(spark, settings, allow_removals=True)

    changes = ("added", "changed", "payload", "removed", "unchanged")
    assert [report.counts[change] for change in changes] == [1, 3, 1, 1, 1]
    new = {row.chunk_id: row for row in rows(spark, settings, "vectors")}
    documents = {row.doc_id for row in new.values()}
    assert documents == {"same", "edited", "relabelled", "breaks", "new"}
    # Only changed text was embedded: chunks of the edited document that are not among the old ones.
    fresh = [row for key, row in new.items() if key not in old and row.doc_id == "edited"]
    assert 0 < len(fresh) < len([row for row in new.values() if row.doc_id == "edited"])
    assert report.counts["chunks_embedded"] == len(fresh) + 1  # the text that fails is also tried
    assert {row.doc_id: row.lang for row in new.values() if row.doc_id in ("relabelled", "new")} == {
        "relabelled": "fr",
        "new": "en",
    }
    # A document that breaks keeps its old vectors, and the ledger says so.
    (kept,) = [row for row in new.values() if row.doc_id == "breaks"]
    assert kept == old[kept.chunk_id]
    ledger = {row.doc_id: row for row in rows(spark, settings, "ledger")}
    assert ledger["breaks"].status == "quarantined" and "earlier text are served" in ledger["breaks"].detail
    assert (ledger["breaks"].chunk_count, ledger["emptied"].status, ledger["emptied"].chunk_count) == (1, "empty", 0)
    assert "gone" not in ledger
    # A different model is refused with a list of all differences; a new space is the solution.
    source = str(settings.source.path)
    with pytest.raises(InputError) as error:
        run(spark, make_settings(source, model={"path": "fake:16"}, **sections))
    assert "dimension was 8, is 16" in str(error.value)
    assert "max_tokens was 64, is 256" in str(error.value)
    assert {row.chunk_id for row in rows(spark, settings, "vectors")} == set(new)
    wide = make_settings(source, space="wide", model={"path": "fake:16"}, chunking={"max_tokens": 64}, **sections)
    run(spark, wide)
    # Readers should use the first space until a person changes that.
    assert {row.space: (row.dimension, row.active) for row in rows(spark, settings, "spaces")} == {
        "main": (8, True),
        "wide": (16, False),
    }
    # Except for the vectors, a load from scratch gives exactly the rows that the refresh left.
    ignored = ("run_id", "embedding")
    assert [
        {k: v for k, v in row.asDict().items() if k not in ignored}
        for row in rows(spark, settings, "vectors")
        if row.doc_id != "breaks"
    ] == [{k: v for k, v in row.asDict().items() if k not in ignored} for row in rows(spark, wide, "vectors")]


# Worth its time: this is the minimum number of slices that distinguishes the first from later ones.
def test_slices_are_commits_and_add_up_to_one_load_without_a_fence_too(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Properties that cannot be changed in a live Spark session simulate a platform that fixes Delta's properties.
    fixed = ("spark.sql.warehouse.dir", "spark.sql.extensions", "spark.sql.catalogImplementation")
    monkeypatch.setattr("spark_jobs.store.fence.TRANSACTION", fixed)
    documents = [{"id": f"d{i}", "text": f"Document number {i % 4} says hello."} for i in range(12)]
    settings = make_settings(write_json(documents), run={"slice_tokens": 60})
    report = run(spark, settings)
    assert report.counts["slices"] > 1
    assert report.counts["chunks_embedded"] == 4  # each text once, no matter which slice it is in
    assert report.counts["chunks"] == 12
    assert_rows(
        rows(spark, settings, "vectors"),
        [
            expected_row(settings, f"d{i}", 0, f"Document number {i % 4} says hello.", 0)
            for i in sorted(range(12), key=lambda i: f"d{i}")
        ],
    )
    # If nothing fences the commits, rows are merged, so that a repeated commit does not duplicate them.
    vectors = Path(str(settings.store.path), "toy", "main", "vectors")
    assert (newest_operation(spark, vectors), vectors.joinpath("_change_data").exists()) == ("MERGE", False)


# Worth its time: two failures, and what the next run does with what each failed run left.
def test_what_a_failed_run_left_is_used_and_nothing_is_written_twice(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [("a", "Alpha."), ("b", "Alpha."), ("bad", "FAKE-ENCODER-NAN")]
    source = write_json([{"id": doc_id, "text": text} for doc_id, text in documents])
    settings = make_settings(source, run={"max_quarantined_fraction": 0.1, "memory_tokens": 0})

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the machine was taken away")

    def fail_at(step: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(step, broken)
            with pytest.raises(RuntimeError):
                run(spark, settings)
        assert rows(spark, settings, "runs")[-1].event == "failed"

    fail_at("spark_jobs.embedding.slices.merge_vectors")
    fail_at("spark_jobs.embedding.slices.merge_ledger")
    assert [row.doc_id for row in rows(spark, settings, "vectors")] == ["a", "b"]
    assert rows(spark, settings, "ledger") == []
    # The second run found the vector that the first had staged, so there is only one.
    staged = space_tables(spark, settings).read("staged_vectors").where("reason is null")
    assert staged.count() == 1

    # Too many documents are quarantined: the run fails after the others are stored.
    with pytest.raises(QuarantineLimitError, match=r"1 of 3 documents are quarantined \(invalid_vector: 1\)"):
        run(spark, settings)
    assert [(row.doc_id, row.text) for row in rows(spark, settings, "vectors")] == [("a", "Alpha."), ("b", "Alpha.")]
    found = {row.doc_id: row.status for row in rows(spark, settings, "ledger")}
    assert found == {"a": "embedded", "b": "embedded", "bad": "quarantined"}
    events = rows(spark, settings, "runs")
    assert events[-1].event == "failed"
    # Only the text that fails is tried again.
    assert dict(events[-1].counts)["chunks_embedded"] == 1
    # A run that finishes empties the staged tables.
    run(spark, make_settings(source))
    with delta_session(spark):
        for table in ("plan", "staged_chunks", "staged_vectors"):
            assert space_tables(spark, settings).read(table).count() == 0


def test_a_small_run_uses_the_vectors_that_a_dead_run_staged(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    source = write_json([{"id": "a", "text": "Alpha."}, {"id": "b", "text": "Beta."}])

    def crash() -> None:
        raise SimulatedCrash

    with at(("vectors.before", 1), crash), pytest.raises(SimulatedCrash):
        run(spark, make_settings(source, run={"memory_tokens": 0}))
    report = run(spark, make_settings(source))
    assert (report.counts["chunks"], report.counts["chunks_embedded"]) == (2, 0)
