"""Fixtures for starting real processes: clean environments, a wheel, settings files, and a reader without Spark."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from sysconfig import get_path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import SparkSession

from tests.support.command import Command, Completed
from tests.support.packaging import build_wheel, make_bare_python
from tests.support.small_tables import SHORT_LIVED

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def small() -> dict[str, str]:
    """Spark properties that make small tables fast."""
    return SHORT_LIVED


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """This process's environment without the variables of the tests, and with the Java installed next to Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDLAKE_", "SPARK_"))}
    for name in ("PYTHONPATH", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
        kept.pop(name, None)
    # `make mutants` puts its faulty code here. Without it, programs use the installed packages.
    if "TEST_SOURCE" in kept:
        kept["PYTHONPATH"] = kept["TEST_SOURCE"]
    java = Path(sys.prefix) / "java"
    if "JAVA_HOME" not in kept and java.joinpath("bin", "java").exists():
        kept["JAVA_HOME"] = str(java)
    return kept


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Callable[..., Completed]:
    """Runs a program to its end in an empty folder. A variable given as None is removed."""

    def run(*command: str | Path, **variables: str | None) -> Completed:
        folder = tmp_path / "elsewhere"
        folder.mkdir(exist_ok=True)
        changed = {**environment, **variables}
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={name: value for name, value in changed.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=400)
        except BaseException:
            # Kill Java and its workers too, or they keep their ports and pipes open.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Completed(process.args, process.returncode, stdout, stderr)

    return run


@pytest.fixture
def embedlake(start: Callable[..., Completed]) -> Callable[..., Completed]:
    """Runs the installed command."""
    command = Path(get_path("scripts")) / "embedlake"

    def run(*arguments: str | Path, **variables: str | None) -> Completed:
        return start(command, *arguments, **variables)

    return run


@pytest.fixture(scope="session")
def command(spark: SparkSession) -> Command:
    """The command line in the live session, for tests that do not need a separate process."""
    return Command(spark)


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with all dependencies of embedlake but without embedlake."""
    return make_bare_python(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `make wheel` builds."""
    return build_wheel(tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("dist"))


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[..., Path]:
    """Writes documents as JSON lines, replacing the previous content."""

    def write(documents: list[dict[str, Any]], name: str = "source.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
        return path

    return write


@pytest.fixture
def write_settings(tmp_path: Path) -> Callable[..., Path]:
    """Writes the settings file of a small JSON lines library; keywords replace single keys in its sections."""

    def write(source: Path, /, **sections: Any) -> Path:
        values: dict[str, Any] = {
            "library": "toy",
            "store": {"path": str(tmp_path / "lake")},
            "source": {"format": "json", "path": str(source), "id_column": "id", "text_columns": ["text"]},
            "model": {"path": "fake:8"},
            "spark": {
                "master": "local[2]",
                "properties": {**SHORT_LIVED, "spark.sql.warehouse.dir": str(tmp_path / "warehouse")},
            },
        }
        for section, value in sections.items():
            values[section] = {**values.get(section, {}), **value} if isinstance(value, dict) else value
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def query() -> Callable[[str | Path, str], list[dict[str, Any]]]:
    """Runs SQL on the Delta table in a folder, named `t`, with a reader that shares no code with Spark."""

    def answer(folder: str | Path, sql: str) -> list[dict[str, Any]]:
        found = QueryBuilder().register("t", DeltaTable(folder)).execute(sql).read_all()
        return pa.table(found).to_pylist()

    return answer
