"""A new space takes the chunks of the library's active space where these are what cutting its documents would give."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_jobs.embed_library import run
from spark_jobs.embedding import staging
from spark_jobs.settings import Settings
from spark_jobs.store import failpoints
from tests.support.refresh.oracle import query
from tests.support.template import Document, write_documents
from udfs.chunk_documents import document_chunks
from udfs.encoders.fake import FAKE_MAX_TOKENS, NOT_FINITE, FakeTokenCounter
from udfs.specs import ChunkSpec

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

LONG = "\n\n".join(f"# Part {n}\n\n" + f"Bees of hive {n} make honey. " * 8 for n in range(6))
# `reason` is a column of chunks in flight too.
DOCUMENTS: list[Document] = [
    {"id": "same", "text": "Owls hunt mice.", "reason": "night"},
    {"id": "long", "text": LONG, "reason": "honey"},
    {"id": "twice", "text": "Elms.\n\n" * 2 + "Owls hunt mice.", "reason": None},
    {"id": "blank", "text": " \n", "reason": "none"},
    {"id": "faulty", "text": f"Ants {NOT_FINITE}.", "reason": "none"},
    {"id": "edited", "text": "Dogs bark.", "reason": "day"},
    {"id": "gone", "text": "Dodos walk.", "reason": "day"},
]
EDITED = [{**each, "text": "Dogs sleep."} if each["id"] == "edited" else each for each in DOCUMENTS[:-1]]
KEPT = "chunk_id, doc_id, chunk_index, char_start, char_end, text, headings, text_hash, token_count, truncated"


def next_space(settings: Settings, **sections: Any) -> Settings:
    """Settings of another space, whose model is cut to fewer numbers."""
    model = settings.model.model_copy(update={"dimensions": 4})
    return settings.model_copy(update={"space": "next", "model": model, **sections})


def stored(settings: Settings) -> list[dict[str, Any]]:
    rows = query(Path(str(settings.store.path), "toy", settings.space, "vectors"), f"select {KEPT} from t")
    return sorted(rows, key=lambda row: (row["doc_id"], row["chunk_index"]))


def cut_by_hand(documents: list[Document]) -> list[dict[str, Any]]:
    """The rows of a space that was built from nothing."""
    rule, counter = ChunkSpec(method="structure", max_tokens=64, min_tokens=16), FakeTokenCounter()
    rows = [
        {key: row[key] for key in KEPT.split(", ")}
        for each in documents
        if NOT_FINITE not in each["text"]
        for row in document_chunks("toy", each["id"], each["text"], rule, counter, FAKE_MAX_TOKENS)
        if "chunk_id" in row
    ]
    return sorted(rows, key=lambda row: (row["doc_id"], row["chunk_index"]))


def watch_texts(monkeypatch: pytest.MonkeyPatch, expected: set[str]) -> None:
    """Has the function that workers cut with fail on a document that is not expected."""
    original = staging.chunk_documents

    def watched(*given: Any) -> Callable[..., Iterator[pa.RecordBatch]]:
        cut = original(*given)

        def check(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                unexpected = set(batch.column("doc_id").to_pylist()) - expected
                assert not unexpected, unexpected
                yield batch

        return lambda batches: cut(check(batches))

    monkeypatch.setattr(staging, "chunk_documents", watched)


# Held by the driver, or in several slices through tables.
@pytest.mark.parametrize("sections", [{}, {"memory_tokens": 0, "slice_tokens": 100}])
def test_only_texts_that_the_active_space_has_not_cut_are_cut(
    spark: SparkSession, loaded: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, sections: dict[str, int]
) -> None:
    settings = loaded(DOCUMENTS, chunking={"max_tokens": 64}, source={"payload_columns": ["reason"]})
    write_documents(EDITED, Path(str(settings.source.path)))
    settings = settings.model_copy(update={"run": settings.run.model_copy(update=sections)})
    with monkeypatch.context() as patch:
        watch_texts(patch, {"edited", "blank", "faulty"})
        report = run(spark, next_space(settings))
    assert stored(next_space(settings)) == cut_by_hand(EDITED)
    cut = {"edited": 1, "faulty": 1}
    assert report.counts["chunks_taken"] == report.counts["chunks"] - sum(cut.values()) > 6
    assert f"{report.counts['chunks_taken']} taken from the active space" in str(report)
    assert (report.counts["slices"] > 1) == bool(sections)
    ledger = query(
        Path(str(settings.store.path), "toy", "next", "ledger"),
        "select doc_id, status, chunk_count, token_count from t",
    )
    assert {row["doc_id"]: row["status"] for row in ledger} == {
        **dict.fromkeys(("same", "long", "twice", "edited"), "embedded"),
        **{"blank": "empty", "faulty": "quarantined"},
    }


def test_a_space_with_another_rule_cuts_for_itself(spark: SparkSession, loaded: Callable[..., Settings]) -> None:
    settings = loaded(DOCUMENTS, chunking={"max_tokens": 64}, source={"payload_columns": ["reason"]})
    other = next_space(settings, chunking=settings.chunking.model_copy(update={"max_tokens": 32}))
    assert run(spark, other).counts["chunks_taken"] == 0


def test_documents_that_a_run_of_the_active_space_left_half_done_are_cut(
    spark: SparkSession, loaded: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(DOCUMENTS, chunking={"max_tokens": 64}, source={"payload_columns": ["reason"]})
    # One with as many chunks as before, and one with fewer.
    halfway = {"edited": "Dogs sleep.", "long": "Bees."}
    edited = [{**each, "text": halfway.get(each["id"], each["text"])} for each in DOCUMENTS]
    write_documents(edited, Path(str(settings.source.path)))

    def stop(point: str) -> None:
        if point == "ledger.before":
            raise ConnectionError("the server does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "failpoint", stop)
        with pytest.raises(ConnectionError):
            run(spark, settings)
    assert {row["text"] for row in stored(settings) if row["doc_id"] in halfway} == set(halfway.values())
    # The texts go back to those that the active space's ledger has.
    write_documents(DOCUMENTS, Path(str(settings.source.path)))
    with monkeypatch.context() as patch:
        watch_texts(patch, {*halfway, "blank", "faulty"})
        report = run(spark, next_space(settings))
    assert report.counts["chunks_taken"] == 3
    assert stored(next_space(settings)) == cut_by_hand(DOCUMENTS)
