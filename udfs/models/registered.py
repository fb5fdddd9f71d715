"""Finds the folder on this machine for a model of MLflow's registry, such as Unity Catalog's.

Only the files of one model folder are taken from a registered version, by their suffixes: no pickle, no code and no
environment. What is taken is inspected like every model folder before any library loads it.
"""

import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from schemas.errors import InputError
from udfs.models.files import MAX_ENTRIES, shown, stays_inside
from udfs.models.hub import ALLOWED_PATTERNS

# Where each machine keeps what it has fetched, unless the settings name a folder that all of them share.
CACHE = "~/.cache/embedlake/models"
_SCHEME = "models:"
_NAME = re.compile(r"models:/(?P<name>[^/@:]+)(?:/(?P<version>[1-9][0-9]*)|@(?P<alias>[^/@:]+))")
# The flavor `transformers` keeps the tokenizer apart from the model.
_TOKENIZER = "components/tokenizer"
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}
_DENIED = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
_CLIENT = {
    # A job reports to nobody outside, and a progress bar would run through its own lines.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes:
        path: Its name with the version, `models:/name/version`.
        folder: Where each machine keeps it; `~` is the machine's own.
    """

    path: str
    folder: str


def is_registered(path: str) -> bool:
    """Whether `model.path` names a model of MLflow's registry."""
    return path.startswith(_SCHEME)


def pin_version(path: str, cache: str | None = None) -> RegisteredVersion:
    """Asks the registry which version a name means now; the driver does this once, and executors get the answer.

    `MLFLOW_REGISTRY_URI`, `MLFLOW_TRACKING_URI` and the client's other variables work as they do for MLflow.

    Args:
        path: `models:/name@alias` or `models:/name/version`.
        cache: Folder for fetched models; None for one of the machine's user.

    Returns:
        The version, not yet fetched.

    Raises:
        InputError: The name is not valid, or the registry does not give the model.
    """
    match = _NAME.fullmatch(path)
    if match is None or not path.isprintable():
        raise InputError(
            f"{shown(path)} names no version of a registered model. Write models:/name@alias or models:/name/7; stages "
            "and `latest` are not supported."
        )
    mlflow, name = _mlflow(path), match["name"]
    try:
        client = mlflow.MlflowClient()
        found = (
            client.get_model_version_by_alias(name, match["alias"])
            if match["alias"]
            else client.get_model_version(name, match["version"])
        )
    except Exception as error:  # the client raises those of its HTTP library and of the platform's SDK too
        raise _refusal(mlflow, path, match, error) from error
    if getattr(found, "status", "READY") != "READY":
        raise InputError(f"{path} is version {found.version}, which is not ready. Register the model again.")
    # A name that was deleted and registered again begins at version 1, and other registries have the same names.
    key = f"{mlflow.get_registry_uri()} {name} {found.version} {found.creation_timestamp}"
    part = f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}-{found.version}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    return RegisteredVersion(f"models:/{name}/{found.version}", f"{(cache or CACHE).rstrip('/')}/{part}")


def version_folder(path: str, folder: str) -> Path:
    """Returns the model folder of a version on this machine; fetches it if it is not there.

    Args:
        path: The pinned name, `models:/name/version`.
        folder: Where machines keep it, as `pin_version` says.

    Returns:
        The folder, not yet inspected.

    Raises:
        InputError: The version cannot be fetched, or has no model folder with safetensors weights.
    """
    root = Path(folder).expanduser()
    if root.is_dir():
        return root
    mlflow = _mlflow(path)
    try:
        with tempfile.TemporaryDirectory() as fetched:
            # Fetched here first: the client writes the parts of a file out of order, which volumes do not take.
            _install(_fetch(mlflow, path, Path(fetched)), root)
    except InputError:
        raise
    except Exception as error:  # those of MLflow, of a storage's client and of the disk
        cause = _cause(error)
        raise InputError(
            f"{path} could not be fetched to {shown(folder)} ({cause}). Check that this machine may read the model, or "
            "let model.cache name a folder that driver and executors share, such as a volume."
        ) from error
    return root


def choose_files(names: Iterable[str]) -> dict[str, str]:
    """Chooses the files of the one model folder in a registered version.

    Args:
        names: Every file of the version, as a POSIX path relative to it.

    Returns:
        Path in the version by path in the model folder; empty if there is no model folder.

    Raises:
        InputError: There are several.

    Example:
        >>> choose_files(["MLmodel", "python_model.pkl", "data/m/modules.json", "data/m/model.safetensors"])
        {'modules.json': 'data/m/modules.json', 'model.safetensors': 'data/m/model.safetensors'}
    """
    taken = [name for name in names if stays_inside(name) and any(fnmatch(name, each) for each in ALLOWED_PATTERNS)]
    folders: dict[str, list[str]] = {}
    for name in taken:
        folders.setdefault(str(PurePosixPath(name).parent), []).append(PurePosixPath(name).name)
    # Modules of a sentence-transformers model have a config.json of their own, but not this list.
    roots = [folder for folder, within in folders.items() if "modules.json" in within]
    roots = roots or [
        folder
        for folder, within in folders.items()
        if "config.json" in within and any(name.endswith(".safetensors") for name in within)
    ]
    if len(roots) > 1:
        raise InputError(f"has several model folders ({shown(', '.join(sorted(roots)))}). Register each by itself.")
    if not roots:
        return {}
    root = PurePosixPath(roots[0])
    chosen = {
        str(PurePosixPath(name).relative_to(root)): name for name in taken if PurePosixPath(name).is_relative_to(root)
    }
    apart = root.parent / _TOKENIZER
    for name in () if "tokenizer_config.json" in chosen or "tokenizer.json" in chosen else taken:
        if PurePosixPath(name).parent == apart:
            chosen.setdefault(PurePosixPath(name).name, name)
    return chosen


def _fetch(mlflow: Any, path: str, here: Path) -> dict[str, Path]:
    names = list(_files(mlflow, path))
    try:
        chosen = choose_files(names)
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    if not chosen:
        raise InputError(
            f"{path} has no model folder with safetensors weights. Log it in the flavor sentence_transformers or "
            "transformers, or as an artifact that is such a folder; pickles are never loaded."
        )
    artifacts = mlflow.artifacts
    return {
        name: Path(artifacts.download_artifacts(artifact_uri=f"{path}/{source}", dst_path=str(here / str(number))))
        for number, (name, source) in enumerate(chosen.items())
    }


def _files(mlflow: Any, path: str) -> Iterable[str]:
    waiting, entry_count = [""], 0
    while waiting:
        for entry in mlflow.artifacts.list_artifacts(artifact_uri=f"{path}/{waiting.pop()}".rstrip("/")):
            entry_count += 1
            if entry_count > MAX_ENTRIES:
                raise InputError(f"{path} has more than {MAX_ENTRIES} files. Register only the model.")
            if entry.is_dir:
                waiting.append(entry.path)
            else:
                yield entry.path


def _install(fetched: dict[str, Path], root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = root.with_name(f".{uuid.uuid4().hex}")
    try:
        for name, file in fetched.items():
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, unfinished / name)
        # Whole or not there; another worker that was faster has put the same files there.
        try:
            unfinished.rename(root)
        except OSError:
            if not root.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _mlflow(path: str) -> Any:
    for variable, value in _CLIENT.items():
        os.environ.setdefault(variable, value)
    try:
        import mlflow
        import mlflow.artifacts
    except ImportError as error:
        raise InputError(
            f"{path} is in a registry of MLflow, which is not installed. Run: pip install 'embedlake[mlflow]'"
        ) from error
    return mlflow


def _refusal(mlflow: Any, path: str, match: re.Match[str], error: Exception) -> InputError:
    code = getattr(error, "error_code", None)
    if code in _DENIED:
        return InputError(
            f"the registry does not let this user read {path}. Ask for EXECUTE on the model, and for USE CATALOG and "
            "USE SCHEMA where it is."
        )
    if code not in _ABSENT:
        return InputError(
            f"the registry could not be asked for {path} ({_cause(error)}). Check MLFLOW_REGISTRY_URI, the credentials "
            "and the network, or name a model folder."
        )
    try:
        aliases = sorted(mlflow.MlflowClient().get_registered_model(match["name"]).aliases)
    except Exception:  # whatever it is, it does not tell more than the first answer
        return InputError(
            f"the registry has no model {match['name']}, or this user may not see it. Check the name; in Unity Catalog "
            "it has three parts, as in models:/main.models.minilm@champion."
        )
    if match["version"]:
        return InputError(f"model {match['name']} has no version {match['version']}. Look it up in the registry.")
    known = f"it has {shown(', '.join(aliases))}" if aliases else "it has none"
    return InputError(f"model {match['name']} has no alias {match['alias']} ({known}). Set it, or name a version.")


def _cause(error: Exception) -> str:
    # Texts of the client may quote addresses with passwords.
    code = getattr(error, "error_code", None)
    return shown(code if isinstance(code, str) else type(error).__name__)
