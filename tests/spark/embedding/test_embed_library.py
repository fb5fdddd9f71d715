"""The main job from source rows to stored vectors, on real Delta tables with the fake model."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import Row, SparkSession

from schemas.errors import InputError, QuarantineLimitError
from spark_jobs import store
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from udfs.chunk_documents import chunk_id
from udfs.encoder_fake import FakeEncoder, FakeTokenCounter

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
WriteJson = Callable[..., str]


def rows(spark: SparkSession, settings: Settings, table: str) -> list[Row]:
    key = {"vectors": ["doc_id", "chunk_index"], "ledger": ["doc_id"], "runs": ["event_time"], "spaces": ["space"]}
    with store.delta_session(spark):
        return store.read(spark, store.place_of(settings), table).orderBy(*key[table]).collect()


def commits(spark: SparkSession, settings: Settings, table: str) -> int:
    return spark.sql(f"DESCRIBE HISTORY {store.place_of(settings).name(table)}").count()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def expected_row(settings: Settings, doc_id: str, index: int, text: str, start: int, **payload: Any) -> dict[str, Any]:
    """A row of vectors, made without any of the job's own steps but the model and the chunk id."""
    return {
        "chunk_id": chunk_id(settings.library, doc_id, sha256(text), 0),
        "doc_id": doc_id,
        "chunk_index": index,
        "char_start": start,
        "char_end": start + len(text),
        "text": text,
        "text_hash": sha256(text),
        "token_count": FakeTokenCounter().inputs([text])[0],
        "truncated": False,
        **payload,
    }


def assert_rows(found: list[Row], expected: list[dict[str, Any]]) -> None:
    assert [{k: v for k, v in row.asDict().items() if k not in ("embedding", "run_id")} for row in found] == expected
    matrix = np.array([row.embedding for row in found], dtype=np.float32)
    assert np.array_equal(matrix, FakeEncoder(8).encode([row["text"] for row in expected]))


def test_first_load_writes_every_document_and_the_second_run_writes_nothing(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
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
    report = run(spark, settings)

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

    before = {table: commits(spark, settings, table) for table in ("vectors", "ledger")}
    again = run(spark, settings)
    assert {table: commits(spark, settings, table) for table in ("vectors", "ledger")} == before
    assert (again.counts["unchanged"], again.counts["added"], again.counts["chunks_embedded"]) == (5, 0, 0)
    assert [row.event for row in rows(spark, settings, "runs")] == [
        "started",
        "slice committed",
        "finished",
        "started",
        "finished",
    ]


def test_refresh_follows_every_kind_of_change(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    sections = {"source": {"payload_columns": ["lang"]}, "run": {"max_quarantined_fraction": 1.0}}
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
    report = run(spark, make_settings(write_json(after), chunking={"max_tokens": 64}, **sections))

    changes = ("added", "changed", "payload", "removed", "unchanged")
    assert [report.counts[change] for change in changes] == [1, 3, 1, 1, 1]
    new = {row.chunk_id: row for row in rows(spark, settings, "vectors")}
    documents = {row.doc_id for row in new.values()}
    assert documents == {"same", "edited", "relabelled", "breaks", "new"}
    # Only what changed was embedded: chunks of the edited document that are not among the old ones.
    fresh = [row for key, row in new.items() if key not in old and row.doc_id == "edited"]
    assert 0 < len(fresh) < len([row for row in new.values() if row.doc_id == "edited"])
    assert report.counts["chunks_embedded"] == len(fresh) + 1  # the text that fails is tried as well
    assert {row.doc_id: row.lang for row in new.values() if row.doc_id in ("relabelled", "new")} == {
        "relabelled": "fr",
        "new": "en",
    }
    # A document that breaks keeps the vectors it had, and says so.
    (kept,) = [row for row in new.values() if row.doc_id == "breaks"]
    assert kept == old[kept.chunk_id]
    ledger = {row.doc_id: row for row in rows(spark, settings, "ledger")}
    assert ledger["breaks"].status == "quarantined" and "earlier text are served" in ledger["breaks"].detail
    assert (ledger["breaks"].chunk_count, ledger["emptied"].status, ledger["emptied"].chunk_count) == (1, "empty", 0)
    assert "gone" not in ledger
    # The very rows that a load from nothing gives.
    rebuilt = make_settings(write_json(after), space="rebuilt", chunking={"max_tokens": 64}, **sections)
    run(spark, rebuilt)
    ignored = ("run_id",)
    assert [
        {k: v for k, v in row.asDict().items() if k not in ignored}
        for row in rows(spark, settings, "vectors")
        if row.doc_id != "breaks"
    ] == [{k: v for k, v in row.asDict().items() if k not in ignored} for row in rows(spark, rebuilt, "vectors")]


def test_slices_are_commits_and_add_up_to_one_load(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    documents = [{"id": f"d{i}", "text": f"Document number {i % 4} says hello."} for i in range(12)]
    settings = make_settings(write_json(documents), run={"slice_tokens": 30})
    report = run(spark, settings)
    assert report.counts["slices"] > 2
    assert report.counts["chunks_embedded"] == 4  # each text once, whatever slice it stands in
    assert report.counts["chunks"] == 12
    assert_rows(
        rows(spark, settings, "vectors"),
        [
            expected_row(settings, f"d{i}", 0, f"Document number {i % 4} says hello.", 0)
            for i in sorted(range(12), key=lambda i: f"d{i}")
        ],
    )


def test_staged_rows_are_gone_after_a_good_run_and_found_again_after_a_bad_one(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(write_json([{"id": "a", "text": "Alpha."}, {"id": "b", "text": "Beta."}]))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the machine was taken away")

    with monkeypatch.context() as patch:
        patch.setattr("spark_jobs.slices.merge_vectors", broken)
        with pytest.raises(RuntimeError):
            run(spark, settings)
    assert rows(spark, settings, "runs")[-1].event == "failed"
    assert rows(spark, settings, "vectors") == []

    report = run(spark, settings)
    assert report.counts["chunks_embedded"] == 0  # finished inference was found by its text's hash
    assert [row.text for row in rows(spark, settings, "vectors")] == ["Alpha.", "Beta."]
    with store.delta_session(spark):
        for table in ("plan", "staged_chunks", "staged_vectors"):
            assert store.read(spark, store.place_of(settings), table).count() == 0


def test_vectors_committed_without_their_ledger_rows_are_not_written_twice(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(write_json([{"id": "a", "text": "Alpha."}, {"id": "b", "text": "Alpha."}]))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the machine was taken away")

    with monkeypatch.context() as patch:
        patch.setattr("spark_jobs.slices.merge_ledger", broken)
        with pytest.raises(RuntimeError):
            run(spark, settings)
    assert len(rows(spark, settings, "vectors")) == 2
    run(spark, settings)
    assert [row.doc_id for row in rows(spark, settings, "vectors")] == ["a", "b"]
    assert [row.status for row in rows(spark, settings, "ledger")] == ["embedded", "embedded"]


@pytest.mark.parametrize(("is_fenced", "operation"), [(True, "WRITE"), (False, "MERGE")])
def test_new_documents_leave_no_second_copy_for_the_change_feed(
    spark: SparkSession,
    write_json: WriteJson,
    make_settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
    is_fenced: bool,
    operation: str,
) -> None:
    if not is_fenced:
        # Properties that Spark lets nobody change in a live session stand for a platform that fixes Delta's.
        fixed = ("spark.sql.warehouse.dir", "spark.sql.extensions", "spark.sql.catalogImplementation")
        monkeypatch.setattr("spark_jobs.fence.TRANSACTION", fixed)
    settings = make_settings(write_json([{"id": "a", "text": "Alpha."}, {"id": "b", "text": "Beta."}]))
    run(spark, settings)
    assert [row.doc_id for row in rows(spark, settings, "vectors")] == ["a", "b"]
    vectors = Path(str(settings.store.path), "toy", "main", "vectors")
    assert not vectors.joinpath("_change_data").exists()
    newest = spark.sql(f"DESCRIBE HISTORY delta.`{vectors}` LIMIT 1").collect()[0]
    assert newest.operation == operation


def test_too_many_quarantined_documents_fail_the_run_after_the_others_are_in(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    documents = [{"id": "good", "text": "Fine."}, {"id": "bad", "text": "FAKE-ENCODER-NAN"}]
    settings = make_settings(write_json(documents), run={"max_quarantined_fraction": 0.1})
    with pytest.raises(QuarantineLimitError, match=r"1 of 2 documents are quarantined \(invalid_vector: 1\)"):
        run(spark, settings)
    assert [row.doc_id for row in rows(spark, settings, "vectors")] == ["good"]
    assert rows(spark, settings, "runs")[-1].event == "failed"


def test_a_source_that_lost_most_documents_is_refused_until_allowed(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    settings = make_settings(write_json([{"id": f"d{i}", "text": f"Text {i}."} for i in range(4)]))
    run(spark, settings)
    write_json([{"id": "d0", "text": "Text 0."}])
    with pytest.raises(InputError, match="3 of 4 documents are gone from the source"):
        run(spark, settings)
    assert len(rows(spark, settings, "vectors")) == 4
    assert run(spark, settings, allow_removals=True).counts["removed"] == 3
    assert [row.doc_id for row in rows(spark, settings, "vectors")] == ["d0"]


def test_another_model_or_chunking_rule_is_refused_with_the_difference(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    source = write_json([{"id": "a", "text": "Alpha."}])
    settings = make_settings(source)
    run(spark, settings)
    other = make_settings(source, model={"path": "fake:16"}, chunking={"max_tokens": 100})
    with pytest.raises(InputError) as error:
        run(spark, other)
    assert "dimension was 8, is 16" in str(error.value)
    assert "max_tokens was 256, is 100" in str(error.value)
    assert commits(spark, settings, "vectors") == 2
    # A space of its own is the way out, and is not the one that readers should use.
    run(spark, make_settings(source, space="wide", model={"path": "fake:16"}))
    assert {row.space: (row.dimension, row.active) for row in rows(spark, settings, "spaces")} == {
        "main": (8, True),
        "wide": (16, False),
    }


def test_a_catalog_store_has_three_part_names(
    spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings
) -> None:
    place = {"path": None, "catalog": "spark_catalog", "schema": "default"}
    settings = make_settings(write_json([{"id": "a", "text": "Alpha."}]), library="cat", store=place)
    report = run(spark, settings)
    assert report.vectors == "`spark_catalog`.`default`.`cat__main__vectors`"
    assert [row.doc_id for row in rows(spark, settings, "vectors")] == ["a"]
    assert run(spark, settings).counts["unchanged"] == 1


def test_the_session_is_left_as_it_was(spark: SparkSession, write_json: WriteJson, make_settings: MakeSettings) -> None:
    keys = ("spark.sql.parquet.compression.codec", "spark.sql.parquet.enableNestedColumnVectorizedReader")
    spark.conf.set(keys[0], "snappy")
    run(spark, make_settings(write_json([{"id": "a", "text": "Alpha."}])))
    assert spark.conf.get(keys[0]) == "snappy"
    assert spark.conf.get(keys[1]) == "true"
    spark.conf.unset(keys[0])
