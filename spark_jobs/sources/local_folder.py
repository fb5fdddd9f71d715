"""What Spark leaves out of a folder on this machine, or could not read, found by walking the folder; no Spark."""

import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from udfs.file_times import microseconds

# Spark passes over every name that begins like this, whatever it holds; `_year=2026` is a folder of a partition. It
# lists what is in a folder `_metadata`, but reads no file of such a name.
_HIDDEN = re.compile(rb"_(?!metadata|common_metadata)[^=]*|\..*|.*\._COPYING_", re.DOTALL)
_HIDDEN_FILE = re.compile(rb"_[^=]*|\..*|.*\._COPYING_", re.DOTALL)
# What Spark, Delta and other tools keep beside the files that they manage is nobody's document.
_OF_TOOLS = re.compile(
    rb"_SUCCESS|_temporary|_delta_log|_spark_metadata|_committed_.*|_started_.*|\..*\.crc|\.git|\.hg|\.svn|\.DS_Store"
    rb"|\.ipynb_checkpoints",
    re.DOTALL,
)
_NAMED = 5


@dataclass
class Listing:
    """Files below a folder.

    Attributes:
        read: How many Spark reads.
        passed_over: How many it passes over for their names or those of their folders.
        beyond_ascii: How many have a character beyond ASCII in their path below the folder.
        undecodable: Paths below the folder whose bytes are not UTF-8.
        unreadable: Files that this process may not read, and folders that it may not list.
        loops: Links that lead back to a folder above themselves.
        digest: Digest of the paths, sizes and times of the files that Spark reads, whatever their order.
        keeps: Which files to list, by their names; None if only numbers are asked for.
        files: Path below the folder, size and time (in microseconds since 1970) of each file that was to be listed.
    """

    read: int = 0
    passed_over: int = 0
    beyond_ascii: int = 0
    undecodable: list[bytes] = field(default_factory=list)
    unreadable: list[bytes] = field(default_factory=list)
    loops: list[bytes] = field(default_factory=list)
    digest: int = 0
    keeps: Callable[[bytes], bool] | None = None
    files: list[tuple[bytes, int, int]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """A text that is another one once a file has come, gone or been written."""
        return f"{self.read} {self.digest:032x}"

    def faults(self) -> list[str]:
        """Describes why the folder cannot be a source, a sentence of cause and one of advice each."""
        faults = []
        if self.loops:
            faults.append(
                f"links lead back to a folder above themselves, so files would be read again and again: "
                f"{_named(self.loops)}. Remove these links."
            )
        if self.undecodable:
            faults.append(
                f"names are not UTF-8, so Java passes over the files: {_named(self.undecodable)}. Rename these files."
            )
        if self.unreadable:
            faults.append(
                f"this user may not read {_named(self.unreadable)}. Give it the right to read, or move them elsewhere."
            )
        return faults


def list_folder(path: str, keeps: Callable[[bytes], bool] | None = None) -> Listing:
    """Walks a folder as Spark does: links are followed, and folders with hidden names are not read.

    Args:
        path: An existing file or folder.
        keeps: Whether a file is to be listed, by its name; the others, and pipes and devices, are as if they were not
            there. None for a source whose files are not listed one by one.

    Returns:
        What it holds.
    """
    # Bytes, because names need not be valid in any encoding.
    root, listing = os.fsencode(path), Listing(keeps=keeps)
    if not os.path.isdir(root):
        _add(listing, root, os.path.basename(root), bool(_HIDDEN_FILE.fullmatch(os.path.basename(root))))
        return listing
    start, real = len(root.rstrip(b"/")) + 1, os.path.realpath(root)
    stack = [(root, real, False, frozenset([real]))]
    while stack:
        folder, real, is_hidden, above = stack.pop()
        for entry in _entries(folder, listing, is_hidden):
            if _OF_TOOLS.fullmatch(entry.name):
                continue
            is_folder = _is_folder(entry)
            hidden = is_hidden or bool((_HIDDEN if is_folder else _HIDDEN_FILE).fullmatch(entry.name))
            if not is_folder:
                _add(listing, entry.path, entry.path[start:], hidden)
                continue
            inside = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)
            if inside not in above:
                stack.append((entry.path, inside, hidden, above | {inside}))
            elif not hidden:
                listing.loops.append(entry.path)
    return listing


def _entries(folder: bytes, listing: Listing, is_hidden: bool) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        # One that has gone meanwhile is nobody's fault.
        if not is_hidden and not isinstance(error, FileNotFoundError):
            listing.unreadable.append(folder)
        return []


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _add(listing: Listing, path: bytes, below: bytes, is_hidden: bool) -> None:
    if listing.keeps is not None and not listing.keeps(os.path.basename(path)):
        return
    if not os.access(path, os.R_OK):
        # A link to nothing is no file.
        if not is_hidden and os.path.exists(path):
            listing.unreadable.append(path)
        return
    if is_hidden:
        listing.passed_over += 1
        return
    try:
        found = os.stat(path)
    except FileNotFoundError:  # gone meanwhile
        return
    if listing.keeps is not None:
        if not stat.S_ISREG(found.st_mode):
            return
        listing.files.append((below, found.st_size, microseconds(found)))
    listing.read += 1
    listing.digest ^= _digest(path, found)
    if not below.isascii():
        listing.beyond_ascii += 1
        try:
            below.decode("utf-8")
        except UnicodeDecodeError:
            listing.undecodable.append(path)


def _digest(path: bytes, found: os.stat_result) -> int:
    # A copy can keep the time of its original, but not when it was put in place.
    told = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return int.from_bytes(hashlib.blake2b(repr((path, told)).encode(), digest_size=16).digest())


def _named(paths: list[bytes]) -> str:
    names = [path.decode("utf-8", "backslashreplace") for path in sorted(paths)[:_NAMED]]
    others = len(paths) - len(names)
    return ", ".join(names) + (f" and {others:,} more" if others else "")
