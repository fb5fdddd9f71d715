"""A folder of converted models on a worker's disk: private, checked on reading, written atomically, bounded in size.

Whoever could write into the folder could decide vectors, so it belongs to the worker's user alone. Digests find what
disks and interrupted writers do to files. What the cache cannot keep or give is made anew; no job fails for it.
"""

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EEXIST, EFBIG, ENOTEMPTY
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Part of every key: what an earlier version wrote is not found. Raise it when the content of entries changes.
FORMAT = 1
MOST_BYTES = 5 * 2**30
OFF = "off"
_DESCRIPTION, _CHOICES, _NEW = "entry.json", "choices", ".new-"
# Longer than any conversion takes: what is older was left behind by a process that died.
_ABANDONED_SECONDS = 86_400.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
Key = Mapping[str, Any]
Files = dict[str, NDArray[np.uint8]]


class NoCacheError(Exception):
    """The folder cannot be used; the message says why."""


class DamagedError(Exception):
    """An entry is not what was written; the message says what differs."""


def open_cache(setting: str | None) -> Path:
    """Finds the folder of converted models, and creates it if it does not exist.

    Args:
        setting: A folder; `off` for none, None for the one of this user.

    Returns:
        The folder. Only this user can write to it.

    Raises:
        NoCacheError: It is off, cannot be created, or could be written by others.
    """
    if setting == OFF:
        raise NoCacheError("the cache of converted models is off")
    root = Path(setting).expanduser() if setting is not None else _own_folder()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise NoCacheError(f"the cache {root} cannot be created ({error.strerror})") from error
    if not stat.S_ISDIR(found.st_mode):
        raise NoCacheError(f"the cache {root} is a link, not a folder")
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NoCacheError(f"the cache {root} belongs to somebody else or can be written by others")
    if not os.access(root, os.W_OK | os.X_OK):
        raise NoCacheError(f"the cache {root} cannot be written")
    return root


def read_entry(root: Path, key: Key) -> tuple[Files, dict[str, Any]] | None:
    """Reads an entry, and marks it as used.

    Args:
        root: The cache.
        key: What the entry is for.

    Returns:
        The content of its files by name, and its facts; None if there is none.

    Raises:
        DamagedError: The entry is not what was written. It is removed.
    """
    folder = root / digest_of(key)
    while True:
        try:
            opened = os.open(folder, _FOLDER)
        except FileNotFoundError:
            return None
        except OSError as error:
            _remove(folder)
            raise DamagedError(f"{folder.name} is not a folder") from error
        try:
            found = _read_opened(opened, key)
            with suppress(OSError):
                os.utime(opened)
            return found
        except DamagedError:
            # Another process may have removed it meanwhile, or put a new one in its place.
            if _is_still(folder, opened):
                _remove(folder)
                raise
        finally:
            os.close(opened)


def read_folder(folder: Path, key: Key) -> tuple[Files, dict[str, Any]]:
    """Reads an entry that is being prepared.

    Args:
        folder: The entry's folder.
        key: What the entry is for.

    Returns:
        The content of its files by name, and its facts.

    Raises:
        DamagedError: A file is missing or has another digest.
        OSError: The folder cannot be read.
    """
    opened = os.open(folder, _FOLDER)
    try:
        return _read_opened(opened, key)
    finally:
        os.close(opened)


def _read_opened(folder: int, key: Key) -> tuple[Files, dict[str, Any]]:
    """Reads the files of an entry and compares their digests."""
    body = _read_checked(folder, _DESCRIPTION)
    if body.get("key") != dict(key):
        raise DamagedError(f"{_DESCRIPTION} describes another model")
    files: Files = {}
    for name, digest in body["files"].items():
        # Read once: what was compared is what is used, whatever happens to the file later.
        files[name] = _content(folder, name)
        if sha256(files[name].data).hexdigest() != digest:
            raise DamagedError(f"{name} has another digest")
    return files, body["facts"]


def _is_still(folder: Path, opened: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(folder.lstat(), os.fstat(opened))
    return False


@contextmanager
def new_entry(root: Path) -> Iterator[Path]:
    """Creates a folder in which an entry is prepared, for a block; it is gone afterwards unless `keep` moved it.

    Args:
        root: The cache.

    Yields:
        The empty folder.

    Raises:
        OSError: The folder cannot be written.
    """
    folder = Path(tempfile.mkdtemp(prefix=_NEW, dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def describe(folder: Path, key: Key, facts: Mapping[str, Any]) -> None:
    """Writes the description of an entry: what it is for, the digests of its files, and facts about it."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name == _DESCRIPTION:
            continue
        with path.open("rb") as file:
            files[path.name] = file_digest(file, "sha256").hexdigest()
    _write_checked(folder / _DESCRIPTION, {"key": dict(key), "files": files, "facts": dict(facts)})


def keep(root: Path, folder: Path, key: Key, most_bytes: int = MOST_BYTES) -> None:
    """Moves a prepared and described entry to where `read_entry` finds it, and removes entries that were used least.

    Args:
        root: The cache.
        folder: The entry, made by `new_entry`.
        key: What the entry is for. If another process was faster, its entry stays.
        most_bytes: Maximum size of all entries; an entry that is larger is not kept.

    Raises:
        OSError: The entry cannot be moved.
    """
    if _size(folder) > most_bytes:
        raise OSError(EFBIG, f"it is larger than {most_bytes // 2**20:,} MiB")
    target = root / digest_of(key)
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (ENOTEMPTY, EEXIST):
            raise
    _trim(root, most_bytes, target)


def read_choice(root: Path, key: Key) -> dict[str, Any] | None:
    """Reads what was remembered about a choice; None if nothing was, or if the file is damaged."""
    name = f"{digest_of(key)}.json"
    try:
        opened = os.open(root / _CHOICES, _FOLDER)
    except OSError:
        return None
    try:
        body = _read_checked(opened, name)
    except DamagedError:
        with suppress(OSError):
            os.unlink(name, dir_fd=opened)
        return None
    finally:
        os.close(opened)
    return dict(body["choice"]) if body.get("key") == dict(key) else None


def write_choice(root: Path, key: Key, choice: Mapping[str, Any]) -> None:
    """Remembers a choice; does nothing if the cache cannot be written."""
    with suppress(OSError):
        folder = root / _CHOICES
        folder.mkdir(mode=0o700, exist_ok=True)
        with new_entry(root) as made:
            path = made / "choice.json"
            _write_checked(path, {"key": dict(key), "choice": dict(choice)})
            path.replace(folder / f"{digest_of(key)}.json")


def digest_of(key: Key) -> str:
    """Returns the name of the entry for a key: 64 hex digits."""
    return sha256(_canonical(key)).hexdigest()


def _own_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "embedlake"
    try:
        return Path.home() / ".cache" / "embedlake"
    except RuntimeError as error:
        raise NoCacheError("this user has no home folder for a cache") from error


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict).encode("ascii")


def _write_checked(path: Path, body: dict[str, Any]) -> None:
    path.write_text(json.dumps({"digest": sha256(_canonical(body)).hexdigest(), "body": body}), encoding="ascii")


def _read_checked(folder: int, name: str) -> dict[str, Any]:
    try:
        found = json.loads(_content(folder, name).tobytes())
        body: dict[str, Any] = found["body"]
        is_whole = found["digest"] == sha256(_canonical(body)).hexdigest()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedError(f"{name} cannot be read") from error
    if not is_whole:
        raise DamagedError(f"{name} has another digest")
    return body


def _content(folder: int, name: str) -> NDArray[np.uint8]:
    try:
        # A link would lead out of the folder that was checked.
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
            return np.fromfile(file, dtype=np.uint8)
    except OSError as error:
        raise DamagedError(f"{name} cannot be read ({error.strerror})") from error


def _trim(root: Path, most_bytes: int, kept: Path) -> None:
    """Removes the entries that were used least recently, until the others fit, and what dead processes left behind."""
    entries: list[tuple[float, int, Path]] = []
    with suppress(OSError):
        for folder in root.iterdir():
            used = folder.lstat().st_mtime
            if folder.name.startswith(_NEW):
                if used < time.time() - _ABANDONED_SECONDS:
                    _remove(folder)
            elif folder.name != _CHOICES and folder != kept:
                entries.append((used, _size(folder), folder))
    room = most_bytes - _size(kept)
    for _, size, folder in sorted(entries, reverse=True):
        room -= size
        if room < 0:
            _remove(folder)


def _size(folder: Path) -> int:
    with suppress(OSError):
        return sum(path.lstat().st_size for path in folder.iterdir())
    return 0


def _remove(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        with suppress(OSError):
            folder.unlink()
        return
    # Moved first, so that nobody finds half of it.
    gone = folder.with_name(f"{_NEW}{os.urandom(8).hex()}")
    with suppress(OSError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
