"""Notebooks in Databricks' source format: cells that the platform splits as meant, and calls that its client has."""

import ast
import inspect
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.source_notebooks import HEADER, MAGIC, Widgets, cells

NOTEBOOKS = sorted(ROOT.joinpath("notebooks", "databricks").glob("*.py"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def calls(path: Path) -> list[ast.Call]:
    return [node for code in cells(path) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]


def test_there_is_a_notebook_for_each_use() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["embed", "operate", "quick_tour", "upgrade_model"]


@each_notebook
def test_a_notebook_is_text_and_code_in_cells(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"{HEADER}\n{MAGIC}%md\n{MAGIC}# ")
    assert len(cells(path)) > 4
    for code in cells(path):
        compile(code, str(path), "exec")


@each_notebook
def test_every_widget_that_is_read_is_declared(path: Path) -> None:
    # Those of SETTINGS are declared in a loop.
    text = "\n".join(cells(path))
    read = {
        node.args[0].value
        for node in calls(path)
        if ast.unparse(node.func) == "dbutils.widgets.get"
        if isinstance(node.args[0], ast.Constant)
    }
    for name in read:
        assert f'("{name}", ' in text or f'"{name}": ' in text, name


@each_notebook
def test_calls_of_the_platform_s_client_have_its_arguments(path: Path) -> None:
    service = pytest.importorskip("databricks.sdk.service.vectorsearch", reason="comes with the extra [mlflow]")
    owners = {
        **{name: getattr(service.VectorSearchIndexesAPI, name) for name in ("create_index", "sync_index", "get_index")},
        **{name: getattr(service, name) for name in ("DeltaSyncVectorIndexSpecRequest", "EmbeddingVectorColumn")},
    }
    found = [(node, ast.unparse(node.func).rpartition(".")[2]) for node in calls(path)]
    mine = [(node, name) for node, name in found if name in owners]
    assert bool(mine) == (path.stem in ("embed", "upgrade_model"))
    for node, name in mine:
        positional = [None] * (len(node.args) + inspect.isfunction(owners[name]))
        inspect.signature(owners[name]).bind(*positional, **{each.arg or "": None for each in node.keywords})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print(1)\n", "no header"),
        (f"{HEADER}\n# MAGIC %sh ls\n", "a magic that is not run here"),
        (f"{HEADER}\n# MAGIC %md\nprint(1)\n", "text and code in one cell"),
    ],
)
def test_what_the_platform_would_read_otherwise_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "notebook.py"
    file.write_text(text)
    with pytest.raises(AssertionError):
        cells(file)


def test_widgets_take_what_a_job_gives_and_refuse_what_is_not_a_choice() -> None:
    widgets = Widgets({"schema": "retrieval", "spare": "x"})
    widgets.text("schema", "default")
    widgets.text("catalog", "main")
    assert (widgets.get("schema"), widgets.get("catalog"), widgets.unknown()) == ("retrieval", "main", {"spare"})
    with pytest.raises(KeyError):
        widgets.get("library")
    with pytest.raises(ValueError, match="maybe is not one of"):
        Widgets({"steps": "maybe"}).dropdown("steps", "no", ["no", "yes"])
