"""A library whose texts the model does not know: counted, and said before it is embedded."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from spark_jobs import show_status
from spark_jobs.embed_library import run
from spark_jobs.embedding import slices
from spark_jobs.runtime.progress import Progress
from spark_jobs.settings import Settings

pytestmark = pytest.mark.spark

# Two words that the model reads as the same token, a sentence that it reads as one, and one in its own language.
DOCUMENTS = [
    {"id": "cat", "text": "猫"},
    {"id": "owl", "text": "鸮"},
    {"id": "thai", "text": "นกฮูกล่าเหยื่อในเวลากลางคืนและนอนในโพรงไม้ในเวลากลางวัน"},
    {"id": "english", "text": "The owl hunts at night."},
]


def test_unknown_tokens_are_counted_and_warned_about_before_the_first_inference(
    spark: SparkSession,
    make_settings: Callable[..., Settings],
    write_json: Callable[..., str],
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = make_settings(write_json(DOCUMENTS), model={"path": str(model_folder)}, run={"memory_tokens": 0})
    said: list[str] = []
    progress = Progress(observers=(lambda event: said.append(event.text),))
    original = slices.stage_vectors

    def noted(*given: object) -> object:
        said.append("inference")
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(slices, "stage_vectors", noted)
    report = run(spark, settings, progress=progress)
    assert report.counts["chunks_unread"] == 3
    assert report.counts["tokens_unknown"] == 3
    warnings = [line for line in said if "the model can hardly read 3 of 4 chunks" in line]
    assert len(warnings) == 1
    assert said.index(warnings[0]) < said.index("inference")
    assert "warning    the model can hardly read 3 of 4 chunks" in str(report)
    # Three tokens for each unread text, and eight for the sentence.
    assert "tokens     17 embedded · 0 saved" in str(report)
    assert "17.6% unknown to the model" in str(report)
    out = io.StringIO()
    show_status.run(spark, settings, Console(file=out, width=250))
    assert "17.6%" in out.getvalue()
