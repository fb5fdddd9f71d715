"""A Python without embedlake, and the wheel of it, as somebody has them who sends the packages with each job."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path
from sysconfig import get_path

import pyspark

from tests.support.paths import ROOT


def make_bare_python(folder: Path) -> Path:
    """Makes a Python with all dependencies of embedlake but without embedlake."""
    venv.create(folder, symlinks=True)
    packages = get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    # Python searches a folder named in a .pth file but ignores .pth files inside it, so it finds no editable install.
    Path(packages, "dependencies.pth").write_text(f"{Path(pyspark.__file__).parents[1]}\n")
    return folder / "bin" / "python"


def build_wheel(sources: Path, out: Path) -> Path:
    """Builds the wheel that `make wheel` builds, from a copy because building leaves files next to the sources.

    Args:
        sources: An empty folder for the copy.
        out: Where the wheel goes.

    Returns:
        The wheel.
    """
    for file in ("LICENSE", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / file, sources)
    for package in ("schemas", "udfs", "spark_jobs"):
        shutil.copytree(ROOT / package, sources / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    built = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.iterdir()
    return path
