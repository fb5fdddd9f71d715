"""Libraries that are loaded once per session and copied for each test that starts from one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from spark_jobs.embed_library import run
from spark_jobs.settings import Settings, as_settings

Document = dict[str, Any]
# Enough for most tests: two documents of one chunk each.
OWLS_AND_BEES: list[Document] = [{"id": "a", "text": "Owls."}, {"id": "b", "text": "Bees."}]
# For libraries stored as bytes and bits. Each text is in two documents, which have equal vectors and equal scores.
QUANTIZED: list[Document] = [{"id": f"d{n}", "text": f"Owls hunt mouse {n // 2 * 2}."} for n in range(30)]
# For search and evaluation. The last document has several chunks and is scored by the best one.
OWLS: list[Document] = [{"id": f"d{number:03}", "text": f"Owls hunt mouse {number}."} for number in range(150)]
OWLS.append(
    {"id": "long", "text": "\n\n".join(f"# Part {n}\n\n" + f"Bees of hive {n} make honey. " * 8 for n in range(6))}
)


def quantized(precision: str) -> dict[str, Any]:
    """Sections of settings that go with `QUANTIZED`."""
    return {"model": {"path": "fake:16", "precision": precision}}


def write_documents(documents: list[Document], path: Path) -> str:
    """Writes documents as JSON lines, replacing the previous content."""
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return str(path)


def files_source(folder: Path | str, kind: str = "documents") -> dict[str, Any]:
    """Section of settings for a folder of files, in place of a source with columns."""
    return {"format": kind, "path": str(folder), "id_column": None, "text_columns": []}


def settings_of(folder: Path, source_path: str, **sections: Any) -> Settings:
    """Settings of a small JSON lines library with the fake model; keywords are merged into their sections."""
    values: dict[str, Any] = {
        "library": "toy",
        "store": {"path": str(folder / "lake")},
        "source": {"format": "json", "path": source_path, "id_column": "id", "text_columns": ["text"]},
        "model": {"path": "fake:8"},
        "run": {"max_quarantined_fraction": 0.5},
    }
    for section, value in sections.items():
        values[section] = {**values.get(section, {}), **value} if isinstance(value, dict) else value
    return as_settings(values)


def template_loader(spark: SparkSession, templates: Path) -> Callable[..., Settings]:
    """Builds the function that copies a loaded library into a folder.

    Args:
        spark: The live session.
        templates: Folder that keeps each library as it was after its first load.

    Returns:
        A function of a folder, documents and sections of settings. It puts `source.jsonl` and `lake` into the folder
        and returns the settings. Delta logs contain relative paths, so a copied store works. In its record of runs, the
        first load is run 1.
    """
    kept: dict[str, Path] = {}

    def load(folder: Path, documents: list[Document], **sections: Any) -> Settings:
        key = json.dumps([documents, sections], sort_keys=True)
        if key not in kept:
            template = templates / str(len(kept))
            template.mkdir()
            run(spark, settings_of(template, write_documents(documents, template / "source.jsonl"), **sections))
            kept[key] = template
        shutil.copytree(kept[key], folder, dirs_exist_ok=True)
        return settings_of(folder, str(folder / "source.jsonl"), **sections)

    return load
