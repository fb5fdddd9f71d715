"""Locks between processes, for stores on local paths: there Delta has no protection of its own.

On a local disk Delta looks whether a version is there and then renames its file, which two processes can do at once.
Object stores and catalogs make commits exclusive themselves.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from schemas.errors import InputError, RunActiveError
from spark_jobs.settings.loading import Settings

_APPEND_SECONDS = 60


def _folder(settings: Settings) -> Path | None:
    path = settings.store.path
    if path is None or not settings.store.is_local:
        return None
    return Path(path.removeprefix("file:")) / "_embedlake" / "locks"


def _lock(folder: Path, name: str) -> FileLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the store cannot be written at {folder}: {error.strerror}: check that the job may write there"
        ) from error
    return FileLock(folder / f"{name}.lock")


@contextmanager
def space_lock(settings: Settings, take_over: bool = False) -> Iterator[None]:
    """Holds the space for one process.

    Args:
        settings: The whole configuration.
        take_over: Whether to go on although another process holds it; that process keeps a lock nobody looks at.

    Raises:
        RunActiveError: Another process holds it.
    """
    folder = _folder(settings)
    if folder is None:
        yield
        return
    lock = _lock(folder, f"{settings.library}__{settings.space}")
    if take_over:
        with suppress(FileNotFoundError):
            os.unlink(lock.lock_file)
    refusal = (
        f"another process on this machine works on space {settings.library}.{settings.space} and holds "
        f"{lock.lock_file}: wait for it to end, or end it by --take-over"
    )
    with _held(lock, 0, refusal):
        yield


@contextmanager
def export_lock(settings: Settings, target: str) -> Iterator[None]:
    """Holds a target for one export.

    Args:
        settings: The whole configuration.
        target: The target's name as it is printed.

    Raises:
        RunActiveError: Another process of this machine exports to it.
    """
    folder = _folder(settings)
    if folder is None:
        yield
        return
    # A name may be long, and hold whatever a path may hold.
    lock = _lock(folder, f"export__{hashlib.sha256(target.encode()).hexdigest()[:16]}")
    refusal = (
        f"another process on this machine exports to {target} and holds {lock.lock_file}: wait for it to end, or end "
        f"it (`fuser {lock.lock_file}` names it)"
    )
    with _held(lock, 0, refusal):
        yield


@contextmanager
def store_lock(settings: Settings) -> Iterator[None]:
    """Holds the tables that all spaces of a store share, for the length of one commit.

    Args:
        settings: The whole configuration.

    Raises:
        RunActiveError: Another process holds them for longer than a commit takes.
    """
    folder = _folder(settings)
    if folder is None:
        yield
        return
    lock = _lock(folder, "store")
    # Not taken from its holder, even by --take-over: a process that was paused in the middle of a commit finishes it
    # when it wakes, over another one's.
    refusal = (
        f"another process on this machine has held {lock.lock_file} for more than {_APPEND_SECONDS:g} s, which no "
        f"commit takes: it is paused or hangs: end it (`fuser {lock.lock_file}` names it), then run again"
    )
    with _held(lock, _APPEND_SECONDS, refusal):
        yield


@contextmanager
def _held(lock: FileLock, seconds: float, refusal: str) -> Iterator[None]:
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise RunActiveError(refusal) from error
    try:
        yield
    finally:
        lock.release()
