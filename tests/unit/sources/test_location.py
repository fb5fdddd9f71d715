"""A folder with names that Java of the session cannot decode is refused; no Spark session."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.errors import PySparkException

from schemas.errors import InputError
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.location import survey


def session(encoding: str | None) -> Any:
    def collect() -> list[tuple[str]]:
        if encoding is None:
            raise PySparkException("java_method is not allowed here")
        return [(encoding,)]

    return SimpleNamespace(sql=lambda _: SimpleNamespace(collect=collect))


def files(folder: Path, *names: str) -> SourceSettings:
    for name in names:
        (folder / name).write_text("text")
    return SourceSettings(format="files", path=str(folder))


def test_names_that_java_would_pass_over_are_refused(tmp_path: Path) -> None:
    source = files(tmp_path, "plain.md", "Überall.md", "größe.md")
    with pytest.raises(InputError, match=r"as ANSI_X3\.4-1968 .* would pass over 2 files\. .*LC_ALL=C\.UTF-8"):
        survey(session("ANSI_X3.4-1968"), source)


@pytest.mark.parametrize("encoding", ["UTF-8", "utf8", None])
def test_java_that_reads_utf_8_or_may_not_be_asked_is_trusted(tmp_path: Path, encoding: str | None) -> None:
    assert survey(session(encoding), files(tmp_path, "Überall.md")) == ()


def test_java_is_asked_only_where_it_matters(tmp_path: Path) -> None:
    # Without a session, asking would fail.
    assert survey(None, files(tmp_path, "plain.md")) == ()  # type: ignore[arg-type]
