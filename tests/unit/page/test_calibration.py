"""The file of a calibration: what calibrate writes is read, and nothing else."""

import json
from pathlib import Path

import pytest

from schemas.errors import InputError
from spark_jobs.calibrate_inference import Calibration, SizeResult
from spark_jobs.page.calibration import read_calibration
from spark_jobs.runtime.json_text import json_text

FITTED = SizeResult("rows", 8, 40.0, 7_000.0, 0.03, 0.2, 0.3, 0.4, 900.0)
TOO_LARGE = SizeResult("tokens", 64, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0)
WRITTEN = Calibration("cpu", "float32", [FITTED, TOO_LARGE], 64, "40 texts/s")


@pytest.mark.parametrize("named", ["calibration.json", "."])
def test_what_calibrate_wrote_is_read_from_its_file_or_folder(tmp_path: Path, named: str) -> None:
    (tmp_path / "calibration.json").write_text(json_text(WRITTEN.as_dict(), indent=1))
    found = read_calibration(tmp_path / named)
    assert (found.device, found.dtype, found.token_budget, found.why) == ("cpu", "float32", 64, "40 texts/s")
    assert [(one.kind, one.value, one.tokens_per_second, one.p99) for one in found.results] == [
        ("rows", 8, 7_000.0, 0.4),
        ("tokens", 64, 0.0, 0.0),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{", b"\xff\xfe", b'{"device": "cpu"}', b"[" * 100_000, b" " * 2_000_000,
        json.dumps({**WRITTEN.as_dict(), "results": []}).encode(),
        json.dumps({**WRITTEN.as_dict(), "token_budget": "many"}).encode(),
        json.dumps(WRITTEN.as_dict()).replace("7000.0", "NaN").encode(),
        json.dumps(WRITTEN.as_dict()).replace("7000.0", "-1").encode(),
        json.dumps(WRITTEN.as_dict()).replace('"value": 8', f'"value": {"9" * 5000}').encode(),
    ],
)  # fmt: skip
def test_anything_else_is_refused_without_quoting_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.json"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_calibration(file)
    assert str(caught.value) == (
        f"--calibration {file} is not what embedlake calibrate writes. Name its calibration.json, or run it again."
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"calibration.json cannot be read: No such file or directory\. Name the"):
        read_calibration(tmp_path)
