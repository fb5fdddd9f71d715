"""A folder of documents from first load to removal: what is read, parsed, known by its content and embedded."""

import os
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from schemas.documents import DOCUMENTS
from schemas.errors import InputError, ReconciliationError
from schemas.reasons import UNPARSABLE
from spark_jobs import (
    calibrate_inference,
    compare_spaces,
    drop_space,
    follow_library,
    maintain_space,
    plan_library,
    verify_space,
)
from spark_jobs.embed_library import run, run_spaces
from spark_jobs.embedding.backlog import backlog_of
from spark_jobs.embedding.report import RunReport
from spark_jobs.settings import Settings, as_settings
from spark_jobs.sources import listing
from spark_jobs.store.failpoints import VARIABLE, SimulatedCrash
from spark_jobs.store.faults import REPEATED_FILE, WITHOUT_FILE
from spark_jobs.store.tables import delta_session, space_tables
from udfs.parsing import parse

# Without the packages of the extra, nothing is parsed.
pytest.importorskip("pypdfium2")
pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

# As people name them; all are files of one folder.
NAMES = (
    *("plain.txt", "with space.md", "a#b.txt", "50%.txt", "%20.txt", "what?.txt", "all*.txt", "[x]{y}.txt", "a:b.txt"),
    *(
        "new\nline.txt",
        "\N{OWL}.txt",
        "Case.txt",
        "case.txt",
        "\u00e9.txt",
        "e\u0301.txt",
        "_metadata/in.txt",
        "n" * 251 + ".txt",
    ),
    *("no*tes [old]/deep/er.txt", "folder/page.txt"),
)
OLD = 1_500_000_000


def write(path: Path, text: str, seconds: int = OLD) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (seconds, seconds))


def settings_of(folder: Path, lake: Path, **sections: Any) -> Settings:
    values: dict[str, Any] = {
        "library": "docs",
        "store": {"path": str(lake)},
        "source": {"format": "documents", "path": str(folder), "payload_columns": ["path", "title", "size"]},
        "model": {"path": "fake:8"},
        "run": {"max_quarantined_fraction": 0.9, "max_removed_fraction": 0.5},
    }
    for section, value in sections.items():
        values[section] = {**values.get(section, {}), **value} if isinstance(value, dict) else value
    return as_settings(values)


def files_of(report: RunReport) -> dict[str, int]:
    names = ("files", "files_read", "files_parsed", "files_reused", "files_gone", "bytes_read")
    return {name: report.counts[name] for name in names if report.counts.get(name)}


def rows(spark: SparkSession, settings: Settings, table: str, *columns: str) -> dict[str, tuple[Any, ...]]:
    with delta_session(spark):
        found = space_tables(spark, settings).read(table).select(*columns).collect()
    return {row[0]: tuple(row[1:]) for row in found}


@pytest.fixture(scope="module")
def library(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings, RunReport]:
    root = tmp_path_factory.mktemp("documents")
    folder = root / "folder"
    for name in NAMES:
        write(folder / name, f"Text of {name}.")
    (folder / "bad.pdf").write_text("%PDF-1.4\nnothing of a PDF")
    write(folder / "empty.txt", "")
    for name in (".hidden.txt", "_metadata.txt"):
        write(folder / name, "hidden")
    for path in (folder / "bad.pdf", folder / "empty.txt"):
        os.utime(path, (OLD, OLD))
    (folder / "nowhere").symlink_to(root / "none")
    (folder / "link.txt").symlink_to(folder / "plain.txt")
    os.mkfifo(folder / "pipe")
    settings = settings_of(folder, root / "lake")
    plan = plan_library.run(spark, settings)
    assert (plan.outlook.has_work, plan.outlook.documents["added"]) == (True, len(NAMES) + 3)
    assert f"{len(NAMES) + 3} in the folder · {len(NAMES) + 3} to read" in str(plan)
    report = run(spark, settings)
    # Whoever copies the folder, and Spark, would wait for it.
    (folder / "pipe").unlink()
    return root, settings, report


@pytest.fixture
def copied(library: tuple[Path, Settings, RunReport], tmp_path: Path) -> Callable[..., tuple[Path, Settings]]:
    def copy(**sections: Any) -> tuple[Path, Settings]:
        root = library[0]
        shutil.copytree(root / "lake", tmp_path / "lake")
        shutil.copytree(root / "folder", tmp_path / "folder", symlinks=True)
        return tmp_path / "folder", settings_of(tmp_path / "folder", tmp_path / "lake", **sections)

    return copy


def test_every_file_is_a_document_under_its_own_name(
    spark: SparkSession, library: tuple[Path, Settings, RunReport]
) -> None:
    _, settings, report = library
    number = len(NAMES) + 3
    assert files_of(report) | {"bytes_read": 0} == {
        **{"files": number, "files_read": number, "files_parsed": number, "bytes_read": 0}
    }
    assert "passed over for names that begin with _ or .: 2 files" in report.how
    ledger = rows(spark, settings, "ledger", "doc_id", "status", "reason")
    embedded = {*NAMES, "link.txt"}
    assert {name for name, (status, _) in ledger.items() if status == "embedded"} == embedded
    assert (ledger["bad.pdf"], ledger["empty.txt"]) == (("quarantined", UNPARSABLE), ("empty", None))
    stored = rows(spark, settings, "vectors", "doc_id", "text", "path", "size")
    assert stored["new\nline.txt"] == ("Text of new\nline.txt.", "new\nline.txt", 21)
    assert set(stored) == embedded


def test_a_refresh_reads_what_changed_and_parses_what_is_new(
    spark: SparkSession, copied: Callable[..., tuple[Path, Settings]]
) -> None:
    folder, settings = copied()
    with delta_session(spark):
        before = space_tables(spark, settings)
        versions = lambda: spark.sql(f"DESCRIBE HISTORY {before.name('documents')}").count()  # noqa: E731
        found = versions()
        idle = run(spark, settings)
        assert (files_of(idle), versions()) == ({"files": len(NAMES) + 3}, found)
    (folder / "plain.txt").rename(folder / "moved.txt")
    (folder / "link.txt").unlink()
    os.utime(folder / "a#b.txt", (OLD + 5, OLD + 5))
    write(folder / "50%.txt", "Text of 51%.txt.", OLD)  # as long as before, and with its time: nobody could tell
    write(folder / "what?.txt", "Another text.")
    write(folder / "[x]{y}.txt", "Text of [x]{z}.txt.", OLD + 9)
    (folder / "all*.txt").unlink()
    write(folder / "all*.txt" / "in.txt", "Text of a folder.")
    shutil.copy2(folder / "case.txt", folder / "copy.txt")
    plan = plan_library.run(spark, settings).outlook
    assert {name: plan.documents[name] for name in ("added", "changed", "removed")} == {
        **{"added": 3, "changed": 3, "removed": 3}
    }
    assert plan.examples["added"] == ["all*.txt/in.txt", "copy.txt", "moved.txt"]
    backlog = backlog_of(spark, settings)
    assert (backlog.documents, backlog.faults) == (plan.documents, ())
    assert "6 to read (3 new, 3 changed" in backlog.note and "3 gone" in backlog.note
    report = run(spark, settings)
    size = sum(
        os.stat(folder / name).st_size for name in ("moved.txt", "a#b.txt", "what?.txt", "[x]{y}.txt", "copy.txt")
    )
    assert files_of(report) == {
        **{"files": len(NAMES) + 3, "files_read": 6, "files_parsed": 3, "files_reused": 3, "files_gone": 3},
        "bytes_read": size + len("Text of a folder."),
    }
    assert (report.counts["changed"], report.counts["added"], report.counts["removed"]) == (2, 3, 3)
    assert report.counts["chunks_embedded"] == 3
    assert "change feed since version" in report.how
    assert "50%.txt" not in str(report)
    compared = run(
        spark, settings.model_copy(update={"source": settings.source.model_copy(update={"track": "compare"})})
    )
    assert compared.counts["files_read"] == len(NAMES) + 3
    assert (compared.counts["files_parsed"], compared.counts["changed"]) == (1, 1)


def test_what_is_parsed_by_another_version_or_cut_short_is_parsed_again(
    spark: SparkSession, copied: Callable[..., tuple[Path, Settings]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = copied()
    monkeypatch.setattr(parse, "PARSER_VERSION", "next")
    plan = plan_library.run(spark, settings)
    assert plan.outlook.has_work and f"({len(NAMES) + 3} for another parser or limit" in str(plan)
    with pytest.raises(Exception, match="Install the same packages everywhere"):
        run(spark, settings)
    monkeypatch.undo()
    with delta_session(spark):
        tables = space_tables(spark, settings)
        spark.sql(f"UPDATE {tables.name('documents')} SET parser = 'old', text = 'old' WHERE path LIKE '%case.txt'")
    monkeypatch.setenv(VARIABLE, "documents.after:1:raise")
    write(folder / "more.txt", "More.")
    with pytest.raises(SimulatedCrash):
        run(spark, settings)
    monkeypatch.delenv(VARIABLE)
    report = run(spark, settings)
    assert files_of(report) == {"files": len(NAMES) + 4}
    assert (report.counts["added"], report.counts["changed"]) == (1, 0)
    assert rows(spark, settings, "vectors", "doc_id", "text")["case.txt"] == ("Text of case.txt.",)


def test_another_space_parses_nothing_and_the_table_is_kept_like_the_others(
    spark: SparkSession, copied: Callable[..., tuple[Path, Settings]]
) -> None:
    folder, settings = copied()
    other = settings.model_copy(
        update={"space": "next", "model": settings.model.model_copy(update={"path": "fake:16"})}
    )
    report = run(spark, other)
    number = len(NAMES) + 3
    assert (report.counts["files_read"], report.counts["files_reused"]) == (number, number)
    write(folder / "case.txt", "Another text.")
    both = [outcome.report for outcome in run_spaces(spark, [settings, other])]
    assert [(each.counts["files_read"], each.counts["changed"]) for each in both if each is not None] == [(1, 1)] * 2
    assert [each.counts["files_parsed"] for each in both if each is not None] == [1, 0]
    assert "documents" in str(maintain_space.run(spark, settings))
    assert not verify_space.run(spark, settings).findings
    for path in list(folder.iterdir())[5:]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match="documents are gone from the source"):
        run(spark, settings)
    with delta_session(spark):
        assert space_tables(spark, settings).read("documents").count() == number


def test_a_folder_that_spark_lists_gives_the_same_documents(
    spark: SparkSession, library: tuple[Path, Settings, RunReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, settings, _ = library
    expected = rows(spark, settings, "vectors", "doc_id", "text")
    monkeypatch.setattr(listing, "local_path", lambda _: None)
    other = settings_of(root / "folder", tmp_path / "lake")
    report = run(spark, other)
    assert rows(spark, other, "vectors", "doc_id", "text") == expected
    assert report.counts["files_read"] == len(NAMES) + 2  # Spark passes over files of zero bytes
    write(root / "folder" / "plain.txt", "Changed.", OLD + 1)
    try:
        assert files_of(run(spark, other)) == {
            **{"files": len(NAMES) + 2, "files_read": 2, "files_parsed": 2, "bytes_read": 16}
        }
    finally:
        write(root / "folder" / "plain.txt", "Text of plain.txt.")


def test_what_is_missing_is_said_before_anything_is_written(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with pytest.raises(InputError, match="cannot be listed"):
        run(spark, settings_of(folder, tmp_path / "lake"))
    folder.mkdir()
    with pytest.raises(InputError, match="no documents"):
        run(spark, settings_of(folder, tmp_path / "lake"))
    write(folder / "a.txt", "text")
    with pytest.raises(InputError, match="is no pattern: a bracket is not closed"):
        run(spark, settings_of(folder, tmp_path / "lake", source={"options": {"pathGlobFilter": "[a"}}))
    with pytest.raises(InputError, match="no documents"):
        run(spark, settings_of(folder, tmp_path / "lake", source={"options": {"pathGlobFilter": "*.pdf"}}))
    assert not (tmp_path / "lake" / "docs").exists()


def test_faults_of_the_table_of_files_are_found_and_repaired(
    spark: SparkSession, copied: Callable[..., tuple[Path, Settings]]
) -> None:
    _, settings = copied()
    with delta_session(spark):
        tables = space_tables(spark, settings)
        twice = tables.read("documents").where(F.col("path") == "plain.txt").collect()
        tables.append(spark.createDataFrame(twice, DOCUMENTS.schema), DOCUMENTS)
        spark.sql(f"DELETE FROM {tables.name('documents')} WHERE path = 'case.txt'")
    with pytest.raises(ReconciliationError) as raised:
        verify_space.run(spark, settings)
    assert f"1 {REPEATED_FILE}: documents such as 'plain.txt'" in str(raised.value)
    assert f"1 {WITHOUT_FILE}: documents such as 'case.txt'" in str(raised.value)
    verify_space.run(spark, settings, repair=True)
    report = run(spark, settings)
    assert (report.counts["files_read"], report.counts["chunks_embedded"]) == (2, 0)
    assert not verify_space.run(spark, settings).findings
    assert len(rows(spark, settings, "documents", "path")) == len(NAMES) + 3


# Worth its time: six commands have a way of their own to the texts, and one of them did not work.
def test_other_commands_take_texts_from_the_table_of_files(
    spark: SparkSession, copied: Callable[..., tuple[Path, Settings]], tmp_path: Path
) -> None:
    folder, settings = copied()
    number = len(NAMES) + 1
    other = settings.model_copy(
        update={"space": "small", "model": settings.model.model_copy(update={"precision": "int8"})}
    )
    assert compare_spaces.run(spark, other, "small", sample=50).candidate.chunks == number
    calibrate_inference.run(spark, other, Console(file=StringIO()), tmp_path / "calibration", texts=5, rounds=1)
    write(folder / "more.txt", "Owls hunt at dusk.")
    # Both spaces have one look at the folder, and the second one parses nothing.
    spaces = {"main": settings, "small": other}
    assert follow_library.run(spark, spaces, until="once") == {"main": 0, "small": 0}
    stored = rows(spark, other, "vectors", "doc_id", "text")
    assert stored == rows(spark, settings, "vectors", "doc_id", "text")
    assert stored["more.txt"] == ("Owls hunt at dusk.",)
    (folder / "more.txt").unlink()
    assert follow_library.run(spark, spaces, until="once") == {"main": 0, "small": 0}
    assert "more.txt" not in rows(spark, other, "vectors", "doc_id")
    assert not verify_space.run(spark, other).findings
    drop_space.run(spark, settings, "small")
    assert not (tmp_path / "lake" / "docs" / "small" / "documents").exists()
