"""Folders that hold a target: writing what a crash or a full disk cannot leave half done."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from spark_jobs.target_mark import check_mark
from spark_jobs.targets import Shape

# Readers of folders of data pass over names that begin so.
MARK = "_embedlake.json"
STAGING = "_embedlake-staging"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Says in words that a folder cannot be written. Only writes belong inside, no reading of the rows that come.

    Args:
        folder: The target's folder.

    Raises:
        InputError: The disk is full, or the folder may not be written.
    """
    try:
        yield
    # Arrow's errors of files are OSErrors; faiss and usearch raise RuntimeErrors of their own.
    except (OSError, RuntimeError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise InputError(
            f"the folder {folder} cannot be written: {cause}: make room there, or check that the job may write, then "
            "export again; the rows that were there before are still there"
        ) from error


def found_in(folder: Path, kind: str) -> dict[str, Any] | None:
    """Reads what a folder says about itself.

    Args:
        folder: The target's folder.
        kind: The kind of target.

    Returns:
        What `_embedlake.json` says; None where nothing is there yet.

    Raises:
        InputError: The folder cannot be read, or holds something else.
    """
    try:
        names = set(os.listdir(folder))
        text = (folder / MARK).read_text(encoding="utf-8") if MARK in names else None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "its mark is no text"
        raise InputError(f"the folder {folder} cannot be read as a target: {cause}: name another folder") from error
    if text is None:
        if names - {STAGING}:
            raise InputError(
                f"the folder {folder} holds what embedlake did not make, such as {min(names - {STAGING})!a}: "
                "name an empty or a new folder"
            )
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != kind:
        raise InputError(f"the folder {folder} holds no {kind} export of embedlake: name an empty or a new folder")
    return found


def open_folder(folder: Path, kind: str, shape: Shape, full: bool) -> dict[str, Any] | None:
    """Makes a folder ready for an export of some rows.

    Args:
        folder: The target's folder.
        kind: The kind of target.
        shape: What the rows look like, and whose they are.
        full: Whether what is there of the same library and space may be replaced.

    Returns:
        What `_embedlake.json` says; None where nothing is there yet.

    Raises:
        InputError: It cannot be written, or holds something else.
    """
    found = found_in(folder, kind)
    if found is not None:
        check_mark(found, shape, full, f"the folder {folder}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return found


def empty_staging(folder: Path) -> None:
    """Makes a new staging folder beside the data; what an export that was killed left in it goes.

    Args:
        folder: The target's folder.

    Raises:
        InputError: It cannot be written.
    """
    staging = folder / STAGING
    with writing(folder):
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()


def synced(path: Path) -> Path:
    """Has the disk keep a file or a folder's names through a loss of power.

    Args:
        path: The file or folder.

    Returns:
        The same path.
    """
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
    return path


def write_mark(folder: Path, said: dict[str, Any]) -> None:
    """Replaces `_embedlake.json` at once: a reader sees the old one or the new one.

    Args:
        folder: The target's folder.
        said: What it is to say.
    """
    beside = folder / STAGING / MARK
    beside.parent.mkdir(exist_ok=True)
    beside.write_text(json.dumps(said, indent=1, ensure_ascii=True), encoding="ascii")
    synced(beside).replace(folder / MARK)
    synced(folder)
