"""Where the tests find a real model and real data; those that need them are skipped without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_START = """
from spark_jobs.runtime.session import get_session
from spark_jobs.settings.sections import SparkSettings
get_session(SparkSettings(master="local[1]"), quiet=True).stop()
"""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Has Spark fetch Delta's jars once before several workers start it: its folder for them is not made for two."""
    is_worker = hasattr(session.config, "workerinput")
    if getattr(session.config.option, "numprocesses", None) and not is_worker:
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
