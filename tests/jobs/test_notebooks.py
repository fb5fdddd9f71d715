"""The notebooks run from top to bottom on some of the quick start documents, with the quick start model.

They share a kernel, because most of the time goes into starting Spark.
"""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from nbclient import NotebookClient

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(600)]

PACKAGES = ("numpy", "rich", "click")


@pytest.fixture
def copy(tmp_path: Path, root: Path, model_folder: Path, small: dict[str, str]) -> Path:
    """A folder with the project's notebooks and settings, and a library of a few documents."""
    shutil.copytree(root / "notebooks", tmp_path / "notebooks")
    settings = yaml.safe_load(root.joinpath("conf", "quickstart.yaml").read_text())
    settings["model"]["path"] = str(model_folder.absolute())
    settings["spark"] = {"properties": small}
    tmp_path.joinpath("conf").mkdir()
    tmp_path.joinpath("conf", "quickstart.yaml").write_text(yaml.safe_dump(settings))
    tmp_path.joinpath("documents").mkdir()
    rows = [
        {
            "doc_id": name,
            "title": name,
            "text": f"Shows {name} in the terminal.",
            "package": name,
            "module": "m",
            "kind": "function",
        }
        for name in PACKAGES
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "documents" / "docstrings.parquet")
    return tmp_path


def outputs(folder: Path, *names: str) -> list[list[Any]]:
    """What the notebooks' cells show, notebook by notebook; each starts in the folder where it lies."""
    notebooks = [nbformat.read(folder / "notebooks" / name, as_version=4) for name in names]
    whole = nbformat.v4.new_notebook(metadata=notebooks[0].metadata)
    for notebook in notebooks:
        assert not any(cell.get("outputs") for cell in notebook.cells), "a committed notebook has no outputs"
        whole.cells += [nbformat.v4.new_code_cell(f"%cd -q {folder / 'notebooks'}"), *notebook.cells]
    NotebookClient(whole, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [[output for cell in notebook.cells for output in cell.get("outputs", [])] for notebook in notebooks]


def text_of(found: list[Any]) -> str:
    return "".join(output.get("text", "") for output in found if output.output_type == "stream")


# Worth its seconds: only a kernel of its own shows what a reader of a notebook sees.
def test_the_quick_tour_and_the_model_as_a_function_of_columns(copy: Path) -> None:
    tour, in_sql = outputs(copy, "quick_tour.ipynb", "embed_in_sql.ipynb")
    shown = text_of(tour)
    assert "3 added · 0 changed" in shown and "0 added · 1 changed" in shown
    assert "  1  0." in shown and "package=rich" in shown
    assert any("image/png" in output.get("data", {}) for output in tour)
    shown = text_of(in_sql)
    assert "|Owls hunt at night.|    384|" in shown
    ranked = shown.rpartition("score|")[2]
    assert 0 < ranked.index("Owls hunt at night.") < ranked.index("Bees make honey.")
