"""The Python code in README and docs/ runs as written, page by page, in a folder with its settings."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

ROOT = next(folder for folder in Path(__file__).parents if (folder / "README.md").is_file())
# How many Python blocks each page has; every other page has none.
BLOCKS = {"README.md": 1, "databricks.md": 4, "formats.md": 2, "operations.md": 2, "report.md": 1}


def test_the_python_of_readme_and_docs_runs(
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
    counts: dict[str, int] = {}
    for page in [ROOT / "README.md", *sorted(ROOT.joinpath("docs").glob("*.md"))]:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            counts[page.name] = counts.get(page.name, 0) + 1
            exec(compile(block, str(page), "exec"), names)
    assert counts == BLOCKS
    shown = capsys.readouterr().out
    assert "1 added" in shown and "1 unchanged" in shown and "embedding" in shown
    assert names["settings_here"].store.catalog == "main"
    assert names["rows"]["doc_id"][0].as_py() == "a"
    (nearest,) = names["nearest"].fetchall()
    assert nearest == ("a", pytest.approx(1.0))
