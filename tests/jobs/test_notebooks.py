"""The notebooks run from top to bottom, on a few documents and with the quick start's model.

They share a kernel, hence Spark and the loaded model; each begins without the names of the one before.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(600)]

PACKAGES = ("numpy", "rich", "click")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, root: Path, model_folder: Path, small: dict[str, str]) -> Path:
    """A folder with notebooks and settings like the project's, and a library of a few documents."""
    folder = tmp_path_factory.mktemp("notebooks")
    shutil.copytree(root / "notebooks", folder / "notebooks")
    settings = yaml.safe_load(root.joinpath("conf", "quickstart.yaml").read_text())
    settings["model"]["path"] = str(model_folder.absolute())
    settings["spark"] = {"properties": small}
    folder.joinpath("conf").mkdir()
    folder.joinpath("conf", "quickstart.yaml").write_text(yaml.safe_dump(settings))
    folder.joinpath("documents").mkdir()
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
    pq.write_table(pa.Table.from_pylist(rows), folder / "documents" / "docstrings.parquet")
    return folder


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    manager = KernelManager(kernel_name="python3")
    yield manager
    manager.shutdown_kernel(now=True)


def outputs(kernel: KernelManager, folder: Path, name: str) -> list[Any]:
    notebook = nbformat.read(folder / "notebooks" / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "a committed notebook has no outputs"
    fresh = nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {folder / 'notebooks'}")
    notebook.cells.insert(0, fresh)
    client = NotebookClient(notebook, km=kernel, timeout=300)
    client.execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


# Worth its seconds: the notebooks are read and run by people who know nothing else of the project.
def test_the_quick_tour_embeds_refreshes_asks_and_draws(kernel: KernelManager, copy: Path) -> None:
    found = outputs(kernel, copy, "quick_tour.ipynb")
    shown = "".join(output.get("text", "") for output in found if output.output_type == "stream")
    assert "3 added · 0 changed" in shown and "0 added · 1 changed" in shown
    assert "  1  0." in shown and "package=rich" in shown
    assert any("image/png" in output.get("data", {}) for output in found)


def test_the_model_is_a_function_of_columns(kernel: KernelManager, copy: Path) -> None:
    found = outputs(kernel, copy, "embed_in_sql.ipynb")
    shown = "".join(output.get("text", "") for output in found if output.output_type == "stream")
    assert "|Owls hunt at night.|    384|" in shown
    ranked = shown.rpartition("score|")[2]
    assert 0 < ranked.index("Owls hunt at night.") < ranked.index("Bees make honey.")
