"""Locks between processes, for stores on local paths, where Delta itself gives no protection.

On a local disk Delta checks that a version does not exist yet and then renames its file, and two processes can do so
at once. Catalogs and object stores make commits exclusive themselves. On S3, Delta does so for one driver alone.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from schemas.errors import InputError, RunActiveError
from spark_jobs.settings.loading import Settings

_APPEND_SECONDS = 60


@dataclass(frozen=True)
class SpaceLock:
    """A space that is held, or that cannot be locked.

    Attributes:
        file: The lock's file; None without a lock.
        inode: Number of the file when it was locked. It stays in use as long as the lock is held.
    """

    file: Path | None = None
    inode: int = 0

    def is_alone(self) -> bool:
        """Whether no other process can be at work on the space: a run that takes over removes the file first."""
        if self.file is None:
            return False
        try:
            return self.file.stat().st_ino == self.inode
        except OSError:
            return False


@contextmanager
def space_lock(settings: Settings, take_over: bool = False) -> Iterator[SpaceLock]:
    """Holds the settings' space for this process.

    Args:
        settings: The space and its store.
        take_over: Whether to take it from another process; that process keeps a lock that nobody checks.

    Yields:
        The lock.

    Raises:
        RunActiveError: Another process holds it.
    """
    before = _lowest_that_exists(settings.store.folder)
    lock = _lock(settings, f"{settings.library}__{settings.space}")
    if lock is None:
        yield SpaceLock()
        return
    if take_over:
        with suppress(FileNotFoundError):
            os.unlink(lock.lock_file)
    refusal = (
        f"another process on this machine is working on space {settings.library}.{settings.space} and holds "
        f"{lock.lock_file}. Wait for it to finish, or take over from it with --take-over."
    )
    with _held(lock, 0, refusal):
        file = Path(lock.lock_file)
        # The process from which the space was taken goes on until it asks the record.
        try:
            yield SpaceLock() if take_over else SpaceLock(file, file.stat().st_ino)
        except InputError:
            if before != settings.store.folder:
                _remove_unused(file, before)
            raise


@contextmanager
def export_lock(settings: Settings, target: str) -> Iterator[None]:
    """Holds a target for one export.

    Args:
        settings: The store.
        target: The target's name as it is printed.

    Raises:
        RunActiveError: Another process on this machine is exporting to it.
    """
    # The name is hashed, because it can be long and contain any character of a path.
    lock = _lock(settings, f"export__{hashlib.sha256(target.encode()).hexdigest()[:16]}")
    if lock is None:
        yield
        return
    refusal = (
        f"another process on this machine is exporting to {target} and holds {lock.lock_file}. Wait for it to finish, "
        f"or end it (`fuser {lock.lock_file}` names it)."
    )
    with _held(lock, 0, refusal):
        yield


@contextmanager
def store_lock(settings: Settings) -> Iterator[None]:
    """Holds the tables that all spaces of a store share, for the duration of one commit."""
    lock = _lock(settings, "store")
    if lock is None:
        yield
        return
    # Never taken from its holder, even with --take-over: a process that was paused in the middle of a commit finishes
    # it when it wakes, and overwrites somebody else's.
    refusal = (
        f"another process on this machine has held {lock.lock_file} for more than {_APPEND_SECONDS:g} s, longer than "
        f"any commit takes: it is paused or hangs. End it (`fuser {lock.lock_file}` names it), then run again."
    )
    with _held(lock, _APPEND_SECONDS, refusal):
        yield


def _lowest_that_exists(folder: Path | None) -> Path | None:
    while folder is not None and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _remove_unused(file: Path, before: Path | None) -> None:
    """Removes a lock's file, and the folders that were made for it, if nothing else is in them."""
    with suppress(OSError):
        file.unlink()
        for folder in file.parents:
            if folder == before:
                return
            folder.rmdir()


def _lock(settings: Settings, name: str) -> FileLock | None:
    store = settings.store.folder
    if store is None:
        return None
    folder = store / "_embedlake" / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the store cannot be written at {folder}: {error.strerror}. Check that the job may write there."
        ) from error
    return FileLock(folder / f"{name}.lock")


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
