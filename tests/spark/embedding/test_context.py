"""Chunks with a context: what the model sees, what a new title costs, and what is stored."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from schemas.errors import SourceError
from spark_jobs import verify_space
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from spark_jobs.store import read_vectors
from tests.support.refresh.oracle import query
from tests.support.template import files_source
from udfs.encoders.fake import FakeEncoder

pytestmark = pytest.mark.spark

BODY = "\n\n".join(f"Part {number}. " + "Owls hunt at dusk. " * 6 for number in range(4))
DOCUMENTS = [
    {"id": "a", "title": "Birds of  the\nnight", "section": None, "text": BODY},
    {"id": "b", "title": "", "section": "Wood", "text": BODY},
    {"id": "c", "title": None, "section": " ", "text": "Bees make honey."},
]
CONTEXT: dict[str, Any] = {"chunking": {"max_tokens": 40, "context": ["title", "section"]}}


def stored(folder: Path) -> list[dict[str, Any]]:
    columns = "doc_id, chunk_index, chunk_id, context, text, text_hash, token_count, run_id, embedding"
    return query(folder / "lake" / "toy" / "main" / "vectors", f"select {columns} from t order by doc_id, chunk_index")


def test_a_new_title_embeds_its_document_again_and_no_other(
    spark: SparkSession,
    loaded: Callable[..., Settings],
    write_json: Callable[..., str],
    make_settings: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    settings = loaded(DOCUMENTS, **CONTEXT)
    before = stored(tmp_path)
    contexts = {"a": "Birds of the night", "b": "Wood", "c": None}
    for row in before:
        assert row["context"] == contexts[row["doc_id"]]
        seen = row["text"] if row["context"] is None else f"{row['context']}\n\n{row['text']}"
        assert row["text_hash"] == hashlib.sha256(seen.encode()).hexdigest()
        assert row["embedding"] == pytest.approx(FakeEncoder(8).encode([seen])[0].tolist(), abs=1e-6)
        assert row["token_count"] <= 40
    assert [row["context"] for row in read_vectors(spark, settings).orderBy("doc_id").select("context").collect()]

    write_json([{**DOCUMENTS[0], "title": "Owls"}, *DOCUMENTS[1:]])
    report = run(spark, settings)
    after = stored(tmp_path)
    mine = [row for row in after if row["doc_id"] == "a"]
    assert (report.counts["changed"], report.counts["unchanged"]) == (1, 2)
    assert report.counts["chunks_embedded"] == len(mine) == len({row["text"] for row in mine}) > 2
    assert {row["context"] for row in mine} == {"Owls"}
    assert [row for row in after if row["doc_id"] != "a"] == [row for row in before if row["doc_id"] != "a"]
    verify_space.run(spark, settings)


def test_a_payload_column_of_that_name_is_no_context(
    spark: SparkSession, loaded: Callable[..., Settings], write_json: Callable[..., str]
) -> None:
    documents = [{"id": name, "context": "Wood", "text": f"Owls hunt mouse {name}."} for name in "abc"]
    source = {"payload_columns": ["context"]}
    settings = loaded(documents, source=source)
    write_json([{**documents[0], "text": "Owls sleep."}, *documents[1:]])
    # The model is checked by stored texts first.
    assert run(spark, settings).counts["changed"] == 1
    verify_space.run(spark, settings)


def test_a_context_needs_columns_with_one_value(
    spark: SparkSession, write_json: Callable[..., str], make_settings: Callable[..., Settings]
) -> None:
    path = write_json([{"id": "a", "text": "Owls.", "tags": ["x"]}])
    settings = make_settings(path, chunking={"context": ["titel"]})
    with pytest.raises(SourceError, match=r"has no column 'titel', which chunking\.context names"):
        run(spark, settings)
    settings = make_settings(path, chunking={"context": ["tags"]})
    with pytest.raises(SourceError, match=r"column 'tags' of chunking\.context is array<string>"):
        run(spark, settings)


def test_chunks_of_a_file_know_its_title_and_the_headings_above_them(
    spark: SparkSession, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    pytest.importorskip("lxml", reason="needs the extra documents")
    folder = tmp_path / "files"
    folder.mkdir()
    guide = "# Guide\n\nIntro of the guide.\n\n## Owls\n\n" + "Owls hunt at dusk and sleep by day. " * 20
    page = "<html><head><title>Bees</title></head><body><h1>Bees</h1><p>Bees make honey in hives.</p></body></html>"
    (folder / "guide.md").write_text(guide)
    (folder / "page.html").write_text(page)
    chunking = {"max_tokens": 64, "context": ["title", "headings"]}
    settings = make_settings("", source=files_source(folder), chunking=chunking)
    run(spark, settings)
    contexts = {(row["doc_id"], row["context"]) for row in stored(tmp_path)}
    assert contexts == {("guide.md", "Guide"), ("guide.md", "Guide > Owls"), ("page.html", "Bees")}

    (folder / "guide.md").write_text(guide.replace("## Owls", "## Owls at night"))
    report = run(spark, settings)
    assert (report.counts["changed"], report.counts["unchanged"]) == (1, 1)
    kept = [row for row in stored(tmp_path) if row["run_id"] == "toy.main.1"]
    assert {row["context"] for row in kept} == {"Guide", "Bees"}
