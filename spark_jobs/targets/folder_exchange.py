"""New files for a target folder that readers get all at once: in a folder beside it, exchanged with it in one step."""

import ctypes
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from spark_jobs.targets.folders import STAGING, sync, write_manifest

# Arguments of the system calls, from <fcntl.h> and <linux/fs.h>, and of macOS from <sys/stdio.h>.
_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2


def folder_beside(folder: Path) -> Path:
    """Names the folder beside a target folder in which its next files wait, or its last ones are deleted."""
    # Hashed, because a name with anything added may be longer than the file system allows.
    digest = hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:16]
    return folder.parent / f".embedlake-{digest}"


def clear_beside(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Removes the folder beside a target folder, whether an export was killed before the exchange or after it.

    Args:
        folder: The target folder.
        is_ours: Whether a name in it is one that embedlake gives. What somebody else put there is moved back.
    """
    beside = folder_beside(folder)
    if beside.is_symlink() or not beside.is_dir():
        return
    for path in beside.iterdir():
        if not is_ours(path.name) and not (folder / path.name).exists():
            path.replace(folder / path.name)
    shutil.rmtree(beside)


def exchange_files(folder: Path, names: list[str], manifest: dict[str, Any], is_ours: Callable[[str], bool]) -> bool:
    """Replaces all files of a target folder in one step.

    Args:
        folder: The target folder.
        names: The new files, which are in its staging folder.
        manifest: The new manifest.
        is_ours: Whether a name in the folder is one that embedlake gives; other files stay in it.

    Returns:
        Whether the system could exchange the folders; if not, everything is as it was before.
    """
    beside = folder_beside(folder)
    if not _may_move(folder) or not _make(beside):
        return False
    for name in names:
        (folder / STAGING / name).replace(beside / name)
    write_manifest(beside, manifest)
    (beside / STAGING).rmdir()
    _copy_access(folder, beside)
    sync(beside)
    if exchange(folder, beside):
        sync(folder.parent)
        clear_beside(folder, is_ours)
        return True
    for name in names:
        (beside / name).replace(folder / STAGING / name)
    shutil.rmtree(beside)
    return False


def exchange(one: Path, other: Path) -> bool:
    """Gives two folders each other's name in one step; returns False if the system or the file system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    library = ctypes.CDLL(None)
    if sys.platform == "darwin":
        swap = getattr(library, "renamex_np", None)
        return swap is not None and swap(*names, ctypes.c_uint(_RENAME_SWAP)) == 0
    rename = getattr(library, "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0)


def _may_move(folder: Path) -> bool:
    return not os.path.ismount(folder) and folder.stat().st_dev == folder.parent.stat().st_dev


def _make(beside: Path) -> bool:
    try:
        beside.mkdir()
    except OSError:
        return False
    return True


def _copy_access(old: Path, new: Path) -> None:
    """Gives a folder the owner and permissions of another, as far as this user may."""
    with suppress(OSError):
        os.chown(new, old.stat().st_uid, old.stat().st_gid)
    with suppress(OSError):
        shutil.copystat(old, new)
