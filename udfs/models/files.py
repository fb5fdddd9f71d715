"""Which files a model folder may hold, decided by walking it without opening anything but first bytes.

What is collected here is all that the later checks see: a file that is not listed does not exist for them.
"""

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MAX_ENTRIES = 10_000
_READ_SUFFIXES = frozenset({".json", ".txt", ".safetensors", ".model", ".vocab"})
_DOCUMENT_NAME = re.compile(r".*\.md|(LICENSE|NOTICE)[\w-]*(\.txt)?", re.ASCII)
_HUB_SNAPSHOT = re.compile(r".*/models--[^/]+/snapshots/[0-9a-f]{40}", re.ASCII)
_PICKLE_MAGIC = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")

MAX_BYTES = 64 * 2**20
MAX_TOKENIZER_BYTES = 512 * 2**20


@dataclass(slots=True)
class FolderFiles:
    """The files of a model folder that the loader may read, and the faults found so far.

    Attributes:
        root: The model folder, absolute.
        files: Path by POSIX path relative to the root.
        present: Every file met, also those that are refused, so that a refused file is not called missing as well.
        faults: One sentence for each fault, beginning with the file's full path.
    """

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def fault(self, name: str, what: str) -> None:
        """Adds a fault of one file.

        Args:
            name: The file, relative to the root; empty for the folder itself.
            what: What is wrong and what to do.
        """
        self.faults.append(f"{shown(self.root / name)}: {what}")


def shown(value: object) -> str:
    """Gives a name or value as one printable line, so that a hostile one cannot forge or clear lines of a log.

    Args:
        value: What the message is about.

    Returns:
        The text, escaped where it does not print, cut after 200 characters.
    """
    text = str(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 200 else f"{text[:200]}..."


def stays_inside(path: str) -> bool:
    """Tells whether a relative path written in a model's own files names something inside its folder, and not hidden.

    Args:
        path: The path as written, in POSIX or Windows form.

    Returns:
        False for absolute paths, drives, `..`, dotfiles (which no digest covers) and control characters.
    """
    parts = re.split(r"[/\\]", path)
    rooted = path.startswith(("/", "\\")) or ":" in parts[0]
    return path.isprintable() and not rooted and not any(part.startswith(".") and part != "." for part in parts)


def looks_like_archive(start: bytes) -> bool:
    """Tells whether a file's first bytes are those of a pickle or a zip archive.

    Args:
        start: The first bytes, at least four where the file has them.

    Returns:
        True for pickle protocols 2 to 5 and for zip, the two forms in which torch saves.
    """
    return start.startswith(_PICKLE_MAGIC) or start.startswith(_ZIP_MAGIC)


def collect_files(root: str | os.PathLike[str]) -> FolderFiles:
    """Walks a model folder and lists the files that the loader may read.

    Symlinks may point within the folder, or within the cache folder of the same repository where the folder is a
    snapshot of the hub's cache.

    Args:
        root: The model folder.

    Returns:
        The files, and a fault for each entry that a model folder may not hold.
    """
    found = FolderFiles(Path(os.path.abspath(root)))
    if not found.root.is_dir():
        found.fault("", "is no folder: name a folder that holds a sentence-transformers model")
        return found
    is_snapshot = _HUB_SNAPSHOT.fullmatch(found.root.as_posix())
    allowed = (found.root.parents[1] if is_snapshot else found.root).resolve()
    waiting, seen = [found.root], 0
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.fault(_relative(found, folder), f"cannot be listed ({error.strerror}): mend its permissions")
            continue
        seen += len(entries)
        if seen > MAX_ENTRIES:
            found.fault("", f"holds more than {MAX_ENTRIES} entries: a model folder holds the model and nothing else")
            break
        _refuse_case_twins(found, folder, entries)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            else:
                _collect_file(found, Path(entry.path), allowed)
    return found


def _collect_file(found: FolderFiles, path: Path, allowed: Path) -> None:
    name = _relative(found, path)
    found.present.add(name)
    if not path.name.isprintable() or "\\" in path.name:
        found.fault(name, "has a name that cannot be shown safely; rename or remove it")
        return
    is_document = _DOCUMENT_NAME.fullmatch(path.name) is not None
    if not is_document and path.suffix not in _READ_SUFFIXES:
        kind = path.suffix or "files without a suffix"
        found.fault(
            name, f"{kind} may not be in a model folder: only safetensors weights are read; convert or remove it"
        )
        return
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
        fault = _place_fault(path, real, mode, allowed)
        # A safetensors file begins with its header's length, which may well look like a pickle's first bytes; its
        # header check tells the two apart.
        if fault is None and path.suffix != ".safetensors" and _begins_as_archive(path):
            fault = "holds a pickle or zip archive under another name, which is never opened; remove it"
    except (OSError, RuntimeError) as error:
        fault = f"cannot be read ({getattr(error, 'strerror', None) or 'a loop of links'}): mend or remove it"
    if fault is not None:
        found.fault(name, fault)
    elif not is_document:
        found.files[name] = path


def _place_fault(path: Path, real: Path, mode: int, allowed: Path) -> str | None:
    if path.is_symlink() and not real.is_relative_to(allowed):
        return "is a link that leaves the model folder; put the file itself in its place"
    if stat.S_ISDIR(mode):
        return "is a link to a folder; put the folder itself in its place"
    if not stat.S_ISREG(mode):
        return "is no regular file (a pipe, socket or device); remove it"
    return None


def _begins_as_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return looks_like_archive(file.read(4))


def _refuse_case_twins(found: FolderFiles, folder: Path, entries: list[os.DirEntry[str]]) -> None:
    by_lower: dict[str, str] = {}
    for entry in entries:
        twin = by_lower.setdefault(entry.name.lower(), entry.name)
        if twin != entry.name:
            name = _relative(found, folder / entry.name)
            found.fault(
                name, f"differs from {shown(twin)} in case only, and file systems disagree which is read; remove one"
            )


def _relative(found: FolderFiles, path: Path) -> str:
    return PurePosixPath(path.relative_to(found.root)).as_posix()


@dataclass(slots=True)
class JsonFiles:
    """Parsed JSON by file name, with lookups that report what does not fit.

    Attributes:
        files: The model folder's files, which take the faults.
        documents: What each file holds; files with faults are absent.
    """

    files: FolderFiles
    documents: dict[str, object] = field(default_factory=dict)

    def object(self, name: str) -> dict[str, object]:
        """Gives a JSON object, or an empty one where the file is absent or broken.

        Args:
            name: The file, relative to the model folder.

        Returns:
            The object. A file that holds something else adds a fault and counts as empty.
        """
        document = self.documents.get(name, {})
        if isinstance(document, dict):
            return document
        self.documents[name] = {}
        self.files.fault(name, "must hold a JSON object; mend it")
        return {}


def parse_json(files: FolderFiles) -> JsonFiles:
    """Parses every JSON file of a model folder.

    Args:
        files: The model folder's files; faults are added to it.

    Returns:
        What the files hold.
    """
    parsed = JsonFiles(files)
    for name, path in files.files.items():
        limit = MAX_TOKENIZER_BYTES if path.name == "tokenizer.json" else MAX_BYTES
        if path.suffix != ".json":
            continue
        try:
            if path.stat().st_size > limit:
                files.fault(name, f"is larger than {limit} bytes, which no model's JSON is; remove it")
            else:
                parsed.documents[name] = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_unique)
        except RecursionError:
            files.fault(name, "is nested too deeply to be read; mend or remove it")
        except (OSError, ValueError) as error:
            files.fault(name, f"cannot be read as JSON ({shown(error)}); mend or remove it")
    return parsed


def within(folder: str, name: str) -> str:
    """Joins a module's folder and a file name.

    Args:
        folder: The module's path in `modules.json`; empty or `.` for the model folder itself.
        name: The file's name.

    Returns:
        The path relative to the model folder.
    """
    return (PurePosixPath(folder) / name).as_posix()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {shown(key)} is there twice")
        result[key] = value
    return result
