"""Where the tests find a real model and real data; those that need them are skipped without."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
