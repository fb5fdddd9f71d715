"""What a report refuses before any work."""

import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InputError
from spark_jobs.report_library import run
from spark_jobs.settings import as_settings

SETTINGS = as_settings(
    {
        "library": "toy",
        "store": {"path": "/lake"},
        "source": {"format": "json", "path": "/books", "id_column": "id", "text_columns": ["text"]},
        "model": {"path": "fake:8"},
    }
)
# Whatever uses it fails.
NO_SESSION: Any = None


def test_a_file_that_cannot_be_written_and_a_calibration_that_is_none_are_found_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(NO_SESSION, SETTINGS, tmp_path / "none" / "page.html", calibration=tmp_path / "none.json")
    assert caught.value.faults == (
        f"--out {tmp_path}/none/page.html cannot be written. Name a file in an existing folder that the job may write "
        "to.",
        f"--calibration {tmp_path}/none.json cannot be read: No such file or directory. Name the calibration.json that "
        "embedlake calibrate wrote.",
    )


def test_a_folder_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        run(NO_SESSION, SETTINGS, tmp_path)


@pytest.mark.parametrize("package", ["altair", "vl_convert", "jinja2"])
def test_a_missing_package_is_named_by_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as caught:
        run(NO_SESSION, SETTINGS, tmp_path / "page.html")
    assert str(caught.value) == ("a report needs packages that are not installed. Run pip install 'embedlake[report]'.")
