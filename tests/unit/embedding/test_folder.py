"""What is said of a folder whose files are parsed, and when it is refused."""

from typing import Any

import pytest

from schemas.errors import InputError
from spark_jobs.embedding.folder import FileCounts, check_files, parser_version
from spark_jobs.embedding.report import files_notes
from spark_jobs.settings import as_settings
from spark_jobs.sources.file_changes import CHANGED, FILE_CHANGES, GONE, NEW, OUTDATED, UNSURE
from udfs.parsing import parse


def counts(files: int = 10, known: int = 10, size: int = 0, **changes: int) -> FileCounts:
    return FileCounts(files, known, {name: changes.get(name, 0) for name in FILE_CHANGES}, size)


def settings(**source: Any) -> Any:
    values = {"format": "documents", "path": "/docs", **source}
    return as_settings({"library": "l", "store": {"path": "/lake"}, "source": values, "model": {"path": "fake:8"}})


def test_counts_are_said_in_one_line() -> None:
    assert str(counts(files=1_200)) == "1,200 in the folder · none differs"
    every = counts(size=2_500_000, **{NEW: 1, CHANGED: 2, OUTDATED: 3, UNSURE: 4, GONE: 5})
    assert str(every) == (
        "10 in the folder · 10 to read (1 new, 2 changed, 3 for another parser or limit, 4 to be sure; 2.5 MB) · 5 gone"
    )
    assert every.differ and not counts().differ


def test_a_folder_that_has_lost_too_much_is_refused() -> None:
    check_files(settings(), counts(files=7, **{GONE: 3}), is_new=False)
    with pytest.raises(InputError, match="4 of 10 documents are gone"):
        check_files(settings(), counts(files=6, **{GONE: 4}), is_new=False)
    with pytest.raises(InputError, match="which has none left"):
        check_files(settings(), counts(files=0, **{GONE: 10}), is_new=False)
    with pytest.raises(InputError, match="has no documents"):
        check_files(settings(), counts(files=0, known=0), is_new=True)


def test_the_summary_has_a_line_of_files_where_there_is_a_folder() -> None:
    assert files_notes({}) == []
    assert files_notes({"files": 9}) == [("files", "9 in the folder · 0 read (0.0 MB)")]
    read = {"files": 9, "files_read": 3, "files_parsed": 2, "files_reused": 1, "files_gone": 4, "bytes_read": 1_500_000}
    assert files_notes(read) == [
        ("files", "9 in the folder · 3 read (1.5 MB) · 2 parsed · 1 known by their content · 4 gone")
    ]


def test_limits_are_told_apart_from_the_version_of_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "need_packages", lambda: None)
    monkeypatch.setattr(parse, "PARSER_VERSION", "7")
    version = parser_version(settings(parse_seconds=5, parse_megabytes=300).source)
    assert (version.version, version.limited) == ("7", "7, 5 s and 300 MB a file")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "_installed", lambda name: "missing")
    with pytest.raises(InputError, match=r"embedlake\[documents\]"):
        parser_version(settings().source)
