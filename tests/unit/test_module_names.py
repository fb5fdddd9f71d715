"""spark-submit puts spark_jobs/ itself on the path: a module there hides every other of its name."""

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "udfs", "spark_jobs")
# A script by the name of the package it starts; everything else in the folder is hidden by none and hides none.
MODULES = sorted(path.stem for path in ROOT.joinpath("spark_jobs").glob("*.py") if path.stem != "__init__")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies() -> set[str]:
    """Names that can be imported from the locked distributions, as far as these are installed."""
    lock = ROOT.joinpath("requirements.lock").read_text(encoding="utf-8")
    locked = {normalised(name) for name in re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==", lock, re.MULTILINE)}
    assert {"pyspark", "delta-spark", "torch", "pydantic"} <= locked
    found = packages_distributions()
    return {name for name, owners in found.items() if locked & set(map(normalised, owners))}


def test_there_is_something_to_look_at() -> None:
    assert {"cli", "embed_library", "settings", "store"} <= set(MODULES)
    assert {"pyspark", "delta", "torch", "yaml", "rich", "typer"} <= dependencies()


@pytest.mark.parametrize("module", MODULES)
def test_no_module_hides_one_of_the_standard_library(module: str) -> None:
    assert module not in sys.stdlib_module_names


@pytest.mark.parametrize("module", MODULES)
def test_no_module_hides_a_dependency(module: str) -> None:
    assert module not in dependencies()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_has_the_name_of_another(package: str) -> None:
    assert package not in {*sys.stdlib_module_names, *MODULES} | dependencies()


@pytest.mark.parametrize("package", PACKAGES)
def test_names_are_plain(package: str) -> None:
    for path in ROOT.joinpath(package).iterdir():
        if path.name != "__pycache__":
            assert re.fullmatch(r"_?_?[a-z][a-z0-9_]*\.py", path.name), path.name
