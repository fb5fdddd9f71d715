"""Names of modules. spark-submit puts spark_jobs/ itself on the path: a module there hides every other of its name."""

import re
import runpy
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import setuptools

from tests.support.code_tree import ASSETS, PACKAGES
from tests.support.paths import ROOT


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def dependencies() -> frozenset[str]:
    """Names that can be imported from the locked distributions, as far as these are installed."""
    lock = ROOT.joinpath("requirements.lock").read_text(encoding="utf-8")
    locked = {normalised(name) for name in re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==", lock, re.MULTILINE)}
    assert {"pyspark", "delta-spark", "torch", "pydantic"} <= locked
    found = packages_distributions()
    return frozenset(name for name, owners in found.items() if locked & set(map(normalised, owners)))


def names_at_top(root: Path, package: str) -> set[str]:
    """Modules and folders at the top of a package, by the names that `import` would know them by."""
    return {path.stem for path in root.joinpath(package).iterdir()} - {"__init__", "__pycache__"}


def hiding_names(root: Path) -> list[str]:
    """Names at the top of spark_jobs, and of the packages, that something else has too."""
    taken = sys.stdlib_module_names | dependencies()
    jobs = names_at_top(root, "spark_jobs")
    found = [f"spark_jobs/{name} hides another module of this name" for name in sorted(jobs & taken)]
    return found + [f"{name} is not the only module of this name" for name in PACKAGES if name in taken | jobs]


def odd_names(root: Path) -> list[str]:
    """Files that are not plainly named modules, and folders that are not plainly named packages."""
    found = []
    for path in sorted(path for package in PACKAGES for path in root.joinpath(package).rglob("*")):
        if "__pycache__" in path.parts or path.relative_to(root).as_posix() in ASSETS:
            continue
        ending = "" if path.is_dir() else r"\.py"
        if not re.fullmatch(rf"(?:__init__|[a-z][a-z0-9_]*){ending}", path.name):
            found.append(f"{path.relative_to(root)} is not a plain name")
        elif path.is_dir() and not path.joinpath("__init__.py").is_file():
            found.append(f"{path.relative_to(root)} has no __init__.py")
    return found


def packages_of(root: Path) -> set[str]:
    paths = [path.parent.relative_to(root) for name in PACKAGES for path in root.joinpath(name).rglob("*.py")]
    return {path.as_posix().replace("/", ".") for path in paths}


def test_dependencies_are_found() -> None:
    assert {"pyspark", "delta", "torch", "yaml", "rich", "typer"} <= dependencies()
    assert {"cli", "embed_library", "settings", "store"} <= names_at_top(ROOT, "spark_jobs")


def test_no_module_hides_another() -> None:
    assert not hiding_names(ROOT)


def test_names_are_plain_and_every_folder_is_a_package() -> None:
    assert not odd_names(ROOT)


def test_every_folder_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    assert set(given["packages"]) == packages_of(ROOT)
    data = {f"{name.replace('.', '/')}/{file}" for name, files in given["package_data"].items() for file in files}
    assert data == ASSETS and all(ROOT.joinpath(file).is_file() for file in ASSETS)


@pytest.mark.parametrize(
    ("path", "hiding", "odd"),
    [
        ("spark_jobs/platform/__init__.py", ["spark_jobs/platform hides another module of this name"], []),
        ("spark_jobs/rich.py", ["spark_jobs/rich hides another module of this name"], []),
        ("spark_jobs/udfs.py", ["udfs is not the only module of this name"], []),
        ("spark_jobs/targets/signal.py", [], ["spark_jobs/targets has no __init__.py"]),
        ("udfs/Words.py", [], ["udfs/Words.py is not a plain name"]),
        ("udfs/words-2.py", [], ["udfs/words-2.py is not a plain name"]),
        ("schemas/notes.txt", [], ["schemas/notes.txt is not a plain name"]),
        ("spark_jobs/store/tables.py", [], []),
    ],
)
def test_an_offender_is_named(tmp_path: Path, path: str, hiding: list[str], odd: list[str]) -> None:
    for name in (
        path,
        "schemas/__init__.py",
        "udfs/__init__.py",
        "spark_jobs/__init__.py",
        "spark_jobs/store/__init__.py",
    ):
        tmp_path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        tmp_path.joinpath(name).touch()
    assert hiding_names(tmp_path) == hiding
    assert odd_names(tmp_path) == odd
