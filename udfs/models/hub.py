"""Finds the folder on this machine for the path or hub name of a model."""

import os
import re
from pathlib import Path

from schemas.errors import InputError
from udfs.models.files import shown

# Chosen by suffix only: with a narrower choice, the digest would depend on what the cache had fetched before.
ALLOWED_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.vocab")
_HUB_NAME = re.compile(r"(?![./~])[\w.-]+/[\w.-]+", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


def resolve_model_folder(path: str, revision: str | None) -> Path:
    """Finds the model folder for a path or hub name, and fetches it from the hub if necessary.

    An existing path is never treated as a hub name. `HF_HUB_OFFLINE`, `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` work as
    they do in the hub's own client.

    Args:
        path: A model folder, or a hub name `owner/name`.
        revision: Full commit id in the hub repository; None for a folder.

    Returns:
        The folder, not yet inspected.

    Raises:
        InputError: The path is neither, the revision is not valid, or the model cannot be fetched.
    """
    if os.path.exists(path):
        if revision is not None:
            raise InputError(
                f"{shown(path)} is a folder, which has no revision. Remove the revision or rename the folder."
            )
        return Path(path)
    if not _HUB_NAME.fullmatch(path):
        raise InputError(
            f"{shown(path)} is neither a folder nor a hub name. Name a model folder, or owner/name with a revision."
        )
    if revision is None or not _COMMIT.fullmatch(revision):
        raise InputError(
            f"{path} is a hub name, but its revision {shown(revision)} is not a full commit id. Give all 40 "
            "hexadecimal digits: branches and tags move, and vectors of two versions of a model are not comparable."
        )
    return _fetch(path, revision)


def _fetch(name: str, revision: str) -> Path:
    # Imported here because the hub's client takes time to import and a local folder does not need it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(ALLOWED_PATTERNS)))
    except RevisionNotFoundError as error:
        raise InputError(f"{name} has no commit {revision}. Look it up on the model's page.") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{name} does not exist on the hub, or you have no access to it. Check the name, and set HF_TOKEN if the "
            "model is private or gated."
        ) from error
    except (EntryNotFoundError, OfflineModeIsEnabled) as error:
        raise InputError(
            f"{name} at {revision} is not in the local cache, and the hub cannot be reached or HF_HUB_OFFLINE is set. "
            "Fetch it on a machine with network access, or name a model folder."
        ) from error
    # The client also raises errors from its HTTP library, the disk and its own checks.
    except Exception as error:
        cause = shown(f"{type(error).__name__}: {error}".splitlines()[0])
        raise InputError(
            f"{name} at {revision} could not be fetched ({cause}). Check network and disk, or name a model folder."
        ) from error
