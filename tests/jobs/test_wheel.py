"""The installed wheel: what it contains, and that nothing in it needs the folder where it was built."""

import email
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from zipfile import ZipFile

import pytest

from tests.support.code_tree import ASSETS
from udfs import __version__

pytestmark = pytest.mark.jobs

PACKAGES = ("schemas", "spark_jobs", "udfs")


def modules(root: Path) -> set[str]:
    """Every module in the source tree, in folders at any depth."""
    return {str(path.relative_to(root)) for package in PACKAGES for path in root.joinpath(package).rglob("*.py")}


IMPORT_ALL = """
import importlib, pathlib, pkgutil
for package in ("schemas", "spark_jobs", "udfs"):
    (folder,) = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages([folder], package + "."):
        print(pathlib.Path(importlib.import_module(module.name).__file__))
"""


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path, root: Path) -> None:
    names = ZipFile(wheel).namelist()
    metadata = f"embedlake-{__version__}.dist-info/"
    assert wheel.name == f"embedlake-{__version__}-py3-none-any.whl"
    assert {name for name in names if not name.startswith(metadata)} == modules(root) | ASSETS
    assert {name.removeprefix(metadata) for name in names if name.startswith(metadata)} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
    }


def test_the_metadata_has_the_command_and_the_ranges(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        folder = f"embedlake-{__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        entry_points = archive.read(f"{folder}/entry_points.txt").decode().split("\n")
    assert [line for line in entry_points if line] == [
        *("[console_scripts]", "embedlake = spark_jobs.cli:main", "embedlake-task = spark_jobs.cli:task")
    ]
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == ("embedlake", __version__, ">=3.11")
    required = {value.replace(" ", "").replace('"', "'") for value in metadata.get_all("Requires-Dist", [])}
    # Spark is an extra, because platforms provide their own.
    assert {name for name in required if "spark" in name} == {
        "pyspark[connect]<4.3,>=4.0.1;extra=='spark'",
        "delta-spark==4.4.0;extra=='spark'",
    }
    assert {"torch>=2.11", "sentence-transformers>=6", "transformers>=5.3", "pandas<3,>=2.2", "pyarrow>=18"} <= required


def test_every_module_of_the_installed_wheel_imports_from_where_it_was_installed(
    start: Callable[..., CompletedProcess[str]], bare_python: Path, wheel: Path, root: Path, tmp_path: Path
) -> None:
    target = tmp_path / "installed"
    install = ("-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", bare_python)
    installed = start(sys.executable, *install, "--target", target, wheel)
    assert installed.returncode == 0, installed.stderr

    imported = start(bare_python, "-c", IMPORT_ALL, PYTHONPATH=str(target))
    assert imported.returncode == 0, imported.stderr
    roots = {f"{package}/__init__.py" for package in PACKAGES}
    assert set(imported.stdout.split()) == {str(target / path) for path in modules(root) - roots}

    printed = start(target / "bin" / "embedlake", "version", PYTHONPATH=str(target))
    assert (printed.returncode, printed.stdout, printed.stderr) == (0, f"{__version__}\n", "")
