"""What starting real processes needs: clean environments, a wheel, settings files, and a reader that is not Spark."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from sysconfig import get_path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, QueryBuilder

from tests.support.small_tables import SHORT_LIVED

ROOT = Path(__file__).resolve().parents[2]
Completed = subprocess.CompletedProcess[str]

# The command line as it is, called again and again in one process: its Spark session is started once.
CALLED_AGAIN = """
import json, sys
from typer.testing import CliRunner
from spark_jobs.cli import app
for line in sys.stdin:
    result = CliRunner().invoke(app, json.loads(line))
    answer = {"code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}
    print(json.dumps(answer), file=sys.__stdout__, flush=True)
"""


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def small() -> dict[str, str]:
    """Spark properties that make short work of small tables."""
    return SHORT_LIVED


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """This process's environment without what belongs to the tests, and with the Java that set-up put beside Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDLAKE_", "SPARK_"))}
    for name in ("PYTHONPATH", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
        kept.pop(name, None)
    java = Path(sys.prefix) / "java"
    if "JAVA_HOME" not in kept and java.joinpath("bin", "java").exists():
        kept["JAVA_HOME"] = str(java)
    return kept


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Callable[..., Completed]:
    """Runs a program to its end, in an empty folder; a variable that is given as None is taken out."""

    def run(*command: str | Path, **variables: str | None) -> Completed:
        folder = tmp_path / "elsewhere"
        folder.mkdir(exist_ok=True)
        changed = {**environment, **variables}
        return subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env={name: value for name, value in changed.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    return run


@pytest.fixture
def embedlake(start: Callable[..., Completed]) -> Callable[..., Completed]:
    """Runs the installed command."""
    command = Path(get_path("scripts")) / "embedlake"

    def run(*arguments: str | Path, **variables: str | None) -> Completed:
        return start(command, *arguments, **variables)

    return run


@pytest.fixture(scope="module")
def command(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Calls the command line again and again and gives back the exit code and what was printed."""
    folder = tmp_path_factory.mktemp("command")
    with folder.joinpath("stderr").open("w+", encoding="utf-8") as noise:
        process = subprocess.Popen(
            [sys.executable, "-c", CALLED_AGAIN],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
        )
        assert process.stdin is not None and process.stdout is not None

        def call(*arguments: str | Path) -> dict[str, Any]:
            process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            answer: dict[str, Any] = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            return answer

        yield call
        process.stdin.close()
        assert process.wait(60) == 0
        noise.seek(0)
        assert noise.read() == ""


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with everything that embedlake needs and without embedlake."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    packages = get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    # A folder that is named by a .pth file is searched, but no .pth file in it is read: an editable install stays out.
    Path(packages, "dependencies.pth").write_text(get_path("purelib") + "\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `make wheel` builds, from a copy of the sources: building leaves files beside them."""
    sources, out = tmp_path_factory.mktemp("sources") / "embedlake", tmp_path_factory.mktemp("dist")
    left_out = shutil.ignore_patterns(
        ".*", "__pycache__", "lake", "models", "build", "dist", "*.egg-info", "*warehouse"
    )
    shutil.copytree(ROOT, sources, ignore=left_out)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    built = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.iterdir()
    return path


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[..., Path]:
    """Writes documents as JSON lines, over what was there."""

    def write(documents: list[dict[str, Any]], name: str = "source.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
        return path

    return write


@pytest.fixture
def write_settings(tmp_path: Path) -> Callable[..., Path]:
    """Writes a settings file of a small library over JSON lines; keywords replace single keys of its sections."""

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
    """Answers SQL over the Delta table in a folder, named `t`, by a reader that shares no code with Spark."""

    def answer(folder: str | Path, sql: str) -> list[dict[str, Any]]:
        found = QueryBuilder().register("t", DeltaTable(folder)).execute(sql).read_all()
        return pa.table(found).to_pylist()

    return answer
