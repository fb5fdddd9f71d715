"""One local session for all Spark tests, and small libraries to embed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.session import get_session
from spark_jobs.settings import Settings, as_settings
from spark_jobs.settings_sections import SparkSettings
from tests.support.small_tables import COLLECTOR, FIRST_COMPILER, PROPERTIES

Document = dict[str, Any]


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    properties = {
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        **PROPERTIES,
        "spark.driver.memory": "4g",
        "spark.driver.extraJavaOptions": f"{FIRST_COMPILER} {COLLECTOR}",
    }
    session = get_session(SparkSettings(master="local[2]", properties=properties), quiet=True)
    yield session
    session.stop()


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[[list[Document]], str]:
    """Writes documents as JSON lines, over what was there."""

    def write(documents: list[Document], name: str = "source") -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(document) + "\n" for document in documents))
        return str(path)

    return write


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a small library over JSON lines with the fake model; keywords replace whole sections' keys."""

    def make(source_path: str, **sections: dict[str, Any]) -> Settings:
        values: dict[str, Any] = {
            "library": "toy",
            "store": {"path": str(tmp_path / "lake")},
            "source": {"format": "json", "path": source_path, "id_column": "id", "text_columns": ["text"]},
            "model": {"path": "fake:8"},
            "run": {"max_quarantined_fraction": 0.5},
        }
        for section, value in sections.items():
            values[section] = {**values.get(section, {}), **value} if isinstance(value, dict) else value
        return as_settings(values)

    return make
