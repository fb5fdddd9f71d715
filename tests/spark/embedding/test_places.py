"""Where a chunk stands in its document: the headings above it, and its pages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from schemas.errors import SourceError
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from tests.support.documents import pdf
from tests.support.refresh.oracle import query
from tests.support.template import files_source

pytestmark = pytest.mark.spark

# Each part is long enough for a chunk of its own.
OWLS, BEES = "Owls hunt at dusk and sleep by day. " * 4, "Bees make honey in hives of wood. " * 4
GUIDE = f"# Guide\n\n{OWLS}\n\n## Bees\n\n{BEES}"
CHUNKING = {"max_tokens": 48, "min_tokens": 8}


def stored(folder: Path, columns: str) -> list[tuple[Any, ...]]:
    vectors = folder / "lake" / "toy" / "main" / "vectors"
    rows = query(vectors, f"select doc_id, chunk_index, {columns} from t order by doc_id, chunk_index")
    return [tuple(row.values()) for row in rows]


def test_a_chunk_knows_the_headings_above_it_as_they_are_now(
    spark: SparkSession, loaded: Callable[..., Settings], write_json: Callable[..., str], tmp_path: Path
) -> None:
    documents = [{"id": "a", "kind": "guide", "text": GUIDE}, {"id": "b", "kind": "note", "text": "Elms."}]
    settings = loaded(documents, chunking=CHUNKING, source={"payload_columns": ["kind"]})
    assert stored(tmp_path, "headings") == [
        ("a", 0, ["Guide"]),
        ("a", 1, ["Guide", "Bees"]),
        ("b", 0, []),
    ]

    # The first chunk has another text, the second one only stands under another heading.
    write_json([{**documents[0], "text": GUIDE.replace("# Guide", "# Animals", 1)}, documents[1]])
    assert run(spark, settings).counts["chunks_embedded"] == 1
    assert stored(tmp_path, "headings, run_id") == [
        ("a", 0, ["Animals"], "toy.main.2"),
        ("a", 1, ["Animals", "Bees"], "toy.main.2"),
        ("b", 0, [], "toy.main.1"),
    ]

    # Texts that are not cut again keep their headings.
    write_json([{**documents[0], "kind": "book", "text": GUIDE.replace("# Guide", "# Animals", 1)}, documents[1]])
    assert run(spark, settings).counts["chunks_embedded"] == 0
    assert stored(tmp_path, "headings, kind") == [
        ("a", 0, ["Animals"], "book"),
        ("a", 1, ["Animals", "Bees"], "book"),
        ("b", 0, [], "note"),
    ]


def test_a_heading_that_is_as_long_as_before_moves_no_chunk_but_counts(
    spark: SparkSession, loaded: Callable[..., Settings], write_json: Callable[..., str], tmp_path: Path
) -> None:
    documents = [{"id": "a", "text": GUIDE}]
    settings = loaded(documents, chunking=CHUNKING)
    positions = stored(tmp_path, "char_start, char_end")
    write_json([{**documents[0], "text": GUIDE.replace("# Guide", "# Notes", 1)}])
    assert run(spark, settings).counts["chunks_embedded"] == 1
    assert stored(tmp_path, "char_start, char_end") == positions
    assert stored(tmp_path, "headings") == [("a", 0, ["Notes"]), ("a", 1, ["Notes", "Bees"])]


def test_a_payload_column_may_have_their_names_where_the_rule_knows_no_headings(
    spark: SparkSession, write_json: Callable[..., str], make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    documents = [{"id": "a", "headings": "mine", "page_start": 7, "text": GUIDE}]
    path, source = write_json(documents), {"payload_columns": ["headings", "page_start"]}
    with pytest.raises(SourceError, match="payload column 'headings' clashes with a column of vectors"):
        run(spark, make_settings(path, chunking=CHUNKING, source=source))

    settings = make_settings(path, chunking={**CHUNKING, "rules": 1}, source=source)
    run(spark, settings)
    write_json([{**documents[0], "headings": "yours"}])
    run(spark, settings)
    assert {row[2:] for row in stored(tmp_path, "headings, page_start")} == {("yours", 7)}


def test_a_chunk_knows_its_pages_as_they_are_now(
    spark: SparkSession, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    pytest.importorskip("pypdfium2", reason="needs the extra documents")
    folder = tmp_path / "files"
    folder.mkdir()
    owls, bees = [(12, 700, OWLS)], [(12, 700, BEES)]
    (folder / "a.pdf").write_bytes(pdf([owls, bees]))
    (folder / "b.md").write_text("# Elms\n\nElms grow.")
    settings = make_settings("", source=files_source(folder), chunking=CHUNKING)
    run(spark, settings)
    columns = "page_start, page_end, headings"
    assert stored(tmp_path, columns) == [
        ("a.pdf", 0, 1, 1, []),
        ("a.pdf", 1, 2, 2, []),
        ("b.md", 0, None, None, ["Elms"]),
    ]

    # An empty page in between changes no text.
    (folder / "a.pdf").write_bytes(pdf([owls, [], bees]))
    report = run(spark, settings)
    assert (report.counts["payload"], report.counts["chunks_embedded"]) == (1, 0)
    assert stored(tmp_path, columns)[:2] == [("a.pdf", 0, 1, 1, []), ("a.pdf", 1, 3, 3, [])]


def test_a_chunk_that_goes_over_a_page_has_both(
    spark: SparkSession, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    pytest.importorskip("pypdfium2", reason="needs the extra documents")
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(pdf([[(12, 700, "Owls hunt.")], [(12, 700, "Bees make honey.")]]))
    run(spark, make_settings("", source=files_source(folder), chunking=CHUNKING))
    assert stored(tmp_path, "page_start, page_end") == [("a.pdf", 0, 1, 2)]
