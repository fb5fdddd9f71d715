"""The README's Python is run as it stands, in a folder that has its settings."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

README = Path(__file__).parents[3] / "README.md"


def test_the_python_of_the_readme_runs(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("source.jsonl").write_text(json.dumps({"id": "a", "text": "Alpha."}) + "\n")
    settings = {
        "library": "python-docs",
        "store": {"path": "./lake"},
        "source": {"format": "json", "path": "source.jsonl", "id_column": "id", "text_columns": ["text"]},
        "model": {"path": "fake:4"},
    }
    Path("settings.yaml").write_text(yaml.safe_dump(settings))
    from spark_jobs.settings import load_settings

    names = {"spark": spark, "settings": load_settings("settings.yaml")}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert len(blocks) == 4
    shown = capsys.readouterr().out
    assert "1 added" in shown and "embedding" in shown
    assert names["rows"]["doc_id"][0].as_py() == "a"
    (nearest,) = names["nearest"].fetchall()
    assert nearest == ("a", pytest.approx(1.0))
