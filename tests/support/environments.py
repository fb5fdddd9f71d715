"""Environments of their own, made once beside the project's, for packages from the index that do not fit into it."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

_FOLDER = ROOT / ".venv-peers"


def python_with(name: str, packages: tuple[str, ...]) -> str:
    """Finds the interpreter of an environment; makes the environment the first time.

    Args:
        name: Name of the environment.
        packages: What to install, with exact versions.

    Returns:
        Path of the interpreter.
    """
    interpreter = _FOLDER / name / "bin" / "python"
    done = _FOLDER / name / ".installed"
    if not done.exists():
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(_FOLDER / name))
        _uv("pip", "install", "--quiet", "--python", str(interpreter), *packages)
        done.touch()
    return str(interpreter)


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", *arguments], check=True, cwd=Path.cwd())
