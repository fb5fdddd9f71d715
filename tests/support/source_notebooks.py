"""Runs notebooks in Databricks' source format, with stand-ins for what that platform gives a notebook."""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pyspark.sql import DataFrame, SparkSession

HEADER = "# Databricks notebook source"
BETWEEN = "# COMMAND ----------"
MAGIC = "# MAGIC "


class Widgets:
    """The widgets of a notebook: values that a job gives, and defaults that the notebook declares."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given, self._declared = dict(given), dict[str, str]()

    def text(self, name: str, default_value: str, label: str | None = None) -> None:
        self._declared[name] = self._given.get(name, default_value)

    def dropdown(self, name: str, default_value: str, choices: list[str], label: str | None = None) -> None:
        self.text(name, default_value, label)
        if self._declared[name] not in choices:
            raise ValueError(f"{self._declared[name]} is not one of {choices}")

    def get(self, name: str) -> str:
        return self._declared[name]

    def unknown(self) -> set[str]:
        return set(self._given) - set(self._declared)


@dataclass
class Shown:
    """What a notebook has shown."""

    printed: str = ""
    tables: list[list[dict[str, Any]]] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    task_values: dict[str, Any] = field(default_factory=dict)


def cells(path: Path) -> list[str]:
    """The code of each cell; cells of text are left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == HEADER, path
    found = []
    for cell in "\n".join(lines[1:]).split(f"\n{BETWEEN}\n"):
        magic = [line for line in cell.splitlines() if line.startswith(MAGIC.rstrip())]
        if magic:
            assert magic[0].startswith(f"{MAGIC}%md"), f"{path.name}: {magic[0]}"
            assert all(line.startswith(MAGIC.rstrip()) for line in cell.split("\n") if line), f"{path.name}: {cell}"
        else:
            found.append(cell)
    return found


def run_notebook(path: Path, spark: SparkSession, given: Mapping[str, str]) -> Shown:
    """Runs a notebook from top to bottom and returns what it has shown."""
    shown, widgets, printed = Shown(), Widgets(given), io.StringIO()

    def display(rows: DataFrame) -> None:
        shown.tables.append([row.asDict(recursive=True) for row in rows.collect()])

    def set_value(key: str, value: Any) -> None:
        shown.task_values[key] = value

    jobs = SimpleNamespace(taskValues=SimpleNamespace(set=set_value))
    namespace = {
        "__name__": "__main__",
        "spark": spark,
        "dbutils": SimpleNamespace(widgets=widgets, jobs=jobs),
        "display": display,
        "displayHTML": shown.pages.append,
    }
    with redirect_stdout(printed):
        for number, code in enumerate(cells(path)):
            exec(compile(code, f"{path.name}[{number}]", "exec"), namespace)
    assert not widgets.unknown(), f"{path.name} has no widgets {widgets.unknown()}"
    shown.printed = printed.getvalue()
    return shown
