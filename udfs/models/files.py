"""The files that a model folder may contain, and its parsed JSON files.

Later checks see only what is collected here. A file that is not listed does not exist for them.
"""

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MAX_ENTRIES = 10_000
MAX_JSON_BYTES = 64 * 2**20
MAX_TOKENIZER_BYTES = 512 * 2**20
_READ_SUFFIXES = frozenset({".json", ".txt", ".safetensors", ".model", ".vocab"})
_DOCUMENT_NAME = re.compile(r".*\.md|(LICENSE|NOTICE)[\w-]*(\.txt)?", re.ASCII)
_HUB_SNAPSHOT = re.compile(r".*/models--[^/]+/snapshots/[0-9a-f]{40}", re.ASCII)
_PICKLE_MAGIC = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(slots=True)
class FolderFiles:
    """The files of a model folder that the loader may read, and the faults found so far.

    Attributes:
        root: The model folder, absolute.
        files: Path by POSIX path relative to the root.
        present: Every file in the folder, including refused ones, so that a refused file is not also reported missing.
        faults: One message for each fault, starting with the file's full path.
    """

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def fault(self, name: str, message: str) -> None:
        """Adds a fault in one file, named relative to the root; an empty name means the folder itself."""
        self.faults.append(f"{shown(self.root / name)}: {message}")


@dataclass(slots=True)
class JsonFiles:
    """Parsed JSON by file name.

    Attributes:
        folder: The model folder's files, which collect the faults.
        contents: The content of each file; files with faults are absent.
    """

    folder: FolderFiles
    contents: dict[str, object] = field(default_factory=dict)

    def object(self, name: str) -> dict[str, object]:
        """Returns a file's JSON object; an empty one if the file is absent, has a fault or contains something else."""
        content = self.contents.get(name, {})
        if isinstance(content, dict):
            return content
        self.contents[name] = {}
        self.folder.fault(name, "must contain a JSON object. Fix it.")
        return {}


def collect_files(root: str | os.PathLike[str]) -> FolderFiles:
    """Walks a model folder: lists the files that the loader may read, and adds a fault for each other file.

    Links may point into the folder. If the folder is a snapshot in the hub's cache, they may point to anywhere in the
    cache folder of the same repository.
    """
    collected = FolderFiles(Path(os.path.abspath(root)))
    if not collected.root.is_dir():
        collected.fault("", "not a folder. Name a folder that contains a sentence-transformers model.")
        return collected
    is_snapshot = _HUB_SNAPSHOT.fullmatch(collected.root.as_posix())
    allowed = (collected.root.parents[1] if is_snapshot else collected.root).resolve()
    waiting, entry_count = [collected.root], 0
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            collected.fault(_relative(collected, folder), f"cannot be listed ({error.strerror}). Fix its permissions.")
            continue
        entry_count += len(entries)
        if entry_count > MAX_ENTRIES:
            collected.fault(
                "", f"contains more than {MAX_ENTRIES} entries. Name a folder that contains only the model."
            )
            break
        _refuse_case_twins(collected, folder, entries)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            else:
                _collect_file(collected, Path(entry.path), allowed)
    return collected


def parse_json(files: FolderFiles) -> JsonFiles:
    """Parses every JSON file in a model folder; files that cannot be parsed become faults of the folder."""
    json_files = JsonFiles(files)
    for name, path in files.files.items():
        limit = MAX_TOKENIZER_BYTES if path.name == "tokenizer.json" else MAX_JSON_BYTES
        if path.suffix != ".json":
            continue
        try:
            if path.stat().st_size > limit:
                files.fault(name, f"larger than {limit} bytes, which no model's JSON is. Remove it.")
            else:
                json_files.contents[name] = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_unique)
        except RecursionError:
            files.fault(name, "nested too deeply to be read. Fix or remove it.")
        except (OSError, ValueError) as error:
            files.fault(name, f"cannot be read as JSON ({shown(error)}). Fix or remove it.")
    return json_files


def shown(value: object) -> str:
    """Formats an untrusted value as one printable line of at most 200 characters, so that it cannot forge log lines."""
    text = str(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 200 else f"{text[:200]}..."


def stays_inside(path: str) -> bool:
    """Whether a path from a model's own files names a visible file inside its folder.

    Args:
        path: The path as written, in POSIX or Windows form.

    Returns:
        False for absolute paths, drives, `..`, dotfiles (which no digest covers) and control characters.
    """
    parts = re.split(r"[/\\]", path)
    rooted = path.startswith(("/", "\\")) or ":" in parts[0]
    return path.isprintable() and not rooted and not any(part.startswith(".") and part != "." for part in parts)


def within(folder: str, name: str) -> str:
    """Returns the path of a file in a module's folder (empty or `.` for the root), relative to the model folder."""
    return (PurePosixPath(folder) / name).as_posix()


def looks_like_archive(start: bytes) -> bool:
    """Whether a file starts like a pickle (protocols 2 to 5) or a zip archive, the two formats of torch.

    Args:
        start: The first bytes; at least four if the file has that many.

    Returns:
        Whether they match.
    """
    return start.startswith(_PICKLE_MAGIC) or start.startswith(_ZIP_MAGIC)


def _collect_file(collected: FolderFiles, path: Path, allowed: Path) -> None:
    name = _relative(collected, path)
    collected.present.add(name)
    if not path.name.isprintable() or "\\" in path.name:
        collected.fault(name, "its name contains characters that cannot be shown safely. Rename or remove it.")
        return
    is_document = _DOCUMENT_NAME.fullmatch(path.name) is not None
    if not is_document and path.suffix not in _READ_SUFFIXES:
        kind = f"{path.suffix} files" if path.suffix else "files without a suffix"
        collected.fault(name, f"{kind} are not allowed, as only safetensors weights are read. Convert or remove it.")
        return
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
        fault = _entry_fault(path, real, mode, allowed)
        # A safetensors file starts with the length of its header, which may look like the first bytes of a pickle. A
        # later check of the header tells the two apart.
        if fault is None and path.suffix != ".safetensors" and _begins_as_archive(path):
            fault = "contains a pickle or zip archive under another name, which is never opened. Remove it."
    except (OSError, RuntimeError) as error:
        fault = f"cannot be read ({getattr(error, 'strerror', None) or 'a loop of links'}). Fix or remove it."
    if fault is not None:
        collected.fault(name, fault)
    elif not is_document:
        collected.files[name] = path


def _entry_fault(path: Path, real: Path, mode: int, allowed: Path) -> str | None:
    if path.is_symlink() and not real.is_relative_to(allowed):
        return "a link that leaves the model folder. Replace it with the file itself."
    if stat.S_ISDIR(mode):
        return "a link to a folder. Replace it with the folder itself."
    if not stat.S_ISREG(mode):
        return "not a regular file but a pipe, socket or device. Remove it."
    return None


def _begins_as_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return looks_like_archive(file.read(4))


def _refuse_case_twins(collected: FolderFiles, folder: Path, entries: list[os.DirEntry[str]]) -> None:
    by_lower: dict[str, str] = {}
    for entry in entries:
        twin = by_lower.setdefault(entry.name.lower(), entry.name)
        if twin != entry.name:
            name = _relative(collected, folder / entry.name)
            collected.fault(
                name,
                f"differs from {shown(twin)} only in case, and file systems disagree on which is read. Remove one.",
            )


def _relative(collected: FolderFiles, path: Path) -> str:
    return PurePosixPath(path.relative_to(collected.root)).as_posix()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {shown(key)} appears twice")
        result[key] = value
    return result
