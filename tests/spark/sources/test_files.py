"""A folder of text files: every file is found under its own path, and its bytes are read as they were written."""

import codecs
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from schemas.errors import InputError
from schemas.reasons import INVALID_UTF8, TOO_LARGE
from spark_jobs.embedding.documents import as_documents
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources import files
from spark_jobs.sources.source import check_ids, open_source

pytestmark = pytest.mark.spark


def settings(path: Path | str, **values: Any) -> SourceSettings:
    return SourceSettings.model_validate({"format": "files", "path": str(path), **values})


def texts(spark: SparkSession, source_settings: SourceSettings) -> dict[str, tuple[str | None, str | None]]:
    """Text, and reason why there is none, by id."""
    source = open_source(spark, source_settings)
    rows = as_documents(source.rows, source_settings, ()).collect()
    assert check_ids(source, source_settings) == len(rows)
    return {row.doc_id: (row.text, row.refused and row.refused.reason) for row in rows}


def test_names_are_taken_as_they_are_and_ids_are_below_the_folder(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "no*tes [old] {a}?"
    names = ["a:b.txt", "c d%20.txt", "e\nf.txt", "sub:dir/[g].md", "Überall.md", "docs/docs/h.txt"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    expected: dict[str, tuple[str | None, str | None]] = {name: (name, None) for name in names}
    assert texts(spark, settings(folder)) == expected
    (tmp_path / "link").symlink_to(folder)
    assert texts(spark, settings(f"{tmp_path}/other/../link/")) == expected
    assert texts(spark, settings(f"file://{folder}")) == expected
    assert texts(spark, settings(folder / "docs")) == {"docs/h.txt": expected["docs/docs/h.txt"]}
    assert texts(spark, settings(folder / "c d%20.txt")) == {"c d%20.txt": expected["c d%20.txt"]}


def test_byte_order_marks_say_how_a_file_is_read(spark: SparkSession, tmp_path: Path) -> None:
    text = "Grüße \U0001f600\nzwei"
    contents = {
        "utf-8": text.encode(),
        "marked": codecs.BOM_UTF8 + text.encode(),
        "little": codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
        "big": codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        # Long enough to fail where a pattern is matched by recursion.
        "long": codecs.BOM_UTF16_LE + (text * 20_000).encode("utf-16-le"),
        "odd": codecs.BOM_UTF16_LE + text.encode("utf-16-le")[:-1],
        "unpaired": codecs.BOM_UTF16_BE + b"\xd8\x00\x00a",
        "latin": text[:5].encode("latin-1"),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = texts(spark, settings(tmp_path))
    assert {name: found[name] for name in ("utf-8", "marked", "little", "big")} == dict.fromkeys(
        ("utf-8", "marked", "little", "big"), (text, None)
    )
    assert found["long"] == (text * 20_000, None)
    assert {name: found[name] for name in ("odd", "unpaired", "latin")} == dict.fromkeys(
        ("odd", "unpaired", "latin"), (None, INVALID_UTF8)
    )


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    (tmp_path / "most").write_text("m" * 1000)
    (tmp_path / "more").write_text("m" * 1001)
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(3 * 2**30)  # no array of Java can hold it
    assert texts(spark, settings(tmp_path)) == {
        "most": ("m" * 1000, None),
        "more": (None, TOO_LARGE),
        "huge": (None, TOO_LARGE),
    }


def test_what_spark_passes_over_is_said_and_a_source_of_nothing_else_is_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "_drafts").mkdir()
    for name in ("a.txt", "_b.txt", "_drafts/c.txt"):
        (tmp_path / name).write_text("text")
    source = open_source(spark, settings(tmp_path))
    assert source.notes == ("passed over for names that begin with _ or .: 2 files",)
    (tmp_path / "a.txt").unlink()
    for kind in ({"format": "files"}, {"format": "json", "id_column": "id", "text_columns": ["text"]}):
        with pytest.raises(InputError, match=r"there is nothing else \(2 files\)"):
            open_source(spark, settings(tmp_path, **kind))


def test_faults_of_a_folder_are_found_before_it_is_read(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "self").symlink_to(tmp_path)
    with pytest.raises(InputError, match="again and again"):
        open_source(spark, settings(tmp_path))
    with pytest.raises(InputError, match="not as a pattern"):
        open_source(spark, settings(tmp_path / "*.txt"))


def test_other_formats_take_the_name_of_a_folder_as_it_is(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a [1]").mkdir()
    (tmp_path / "a [1]" / "b.json").write_text('{"id": "1", "text": "one"}\n')
    (tmp_path / "a 1").mkdir()
    for path in (tmp_path / "a [1]", tmp_path / "a*"):
        columns = {"format": "json", "id_column": "id", "text_columns": ["text"]}
        assert texts(spark, settings(path, **columns)) == {"1": ("one", None)}
