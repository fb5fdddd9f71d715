"""One local Spark session, a real model and real data, for the tests that ask for them; without data they skip."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.small_tables import COLLECTOR, NO_CHECKSUM_FILES, PROPERTIES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parent.parent
_START = """
from spark_jobs.runtime.session import get_session
from spark_jobs.settings.sections import SparkSettings
get_session(SparkSettings(master="local[1]"), quiet=True).stop()
"""


_CACHE = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Keeps converted models of the tests, of their Spark workers and processes away from this user's cache."""
    # Several workers share the folder of the process that started them.
    if not hasattr(config, "workerinput"):
        config.stash[_CACHE] = tempfile.TemporaryDirectory(prefix="test-cache-", ignore_cleanup_errors=True)
        os.environ["XDG_CACHE_HOME"] = config.stash[_CACHE].name


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes the converted models of the tests."""
    if _CACHE in config.stash:
        config.stash[_CACHE].cleanup()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Has Spark fetch Delta's jars once before several workers start it: its folder for them is not made for two."""
    is_worker = hasattr(session.config, "workerinput")
    needs_spark = any(not Path(argument).is_relative_to("tests/unit") for argument in session.config.args)
    if getattr(session.config.option, "numprocesses", None) and not is_worker and needs_spark:
        subprocess.run([sys.executable, "-c", _START], check=True)


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not there: set {variable} to a folder that has it")
    return folder


@pytest.fixture(scope="session")
def model_folder() -> Path:
    return _folder("TEST_MODEL_FOLDER", ROOT / "models" / "all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    return _folder("TEST_DATA_FOLDER", ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """The only session of the process: Java is fast only once it has compiled what it runs, which takes minutes."""
    from spark_jobs.runtime.session import get_session
    from spark_jobs.settings.sections import SparkSettings

    properties = {
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        **PROPERTIES,
        **NO_CHECKSUM_FILES,
        "spark.driver.memory": "4g",
        # Some tests count the statements of a run.
        "spark.sql.ui.retainedExecutions": "1000",
        "spark.driver.extraJavaOptions": COLLECTOR,
    }
    session = get_session(SparkSettings(master="local[2]", properties=properties), quiet=True)
    yield session
    session.stop()
