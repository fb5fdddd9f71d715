"""The JSON files of a model folder, parsed once and with limits."""

import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from udfs.model_files import FolderFiles, shown

MAX_BYTES = 64 * 2**20
MAX_TOKENIZER_BYTES = 512 * 2**20


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
