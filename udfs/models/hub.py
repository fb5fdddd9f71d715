"""From what the settings name to a model folder on this machine."""

import os
import re
from pathlib import Path

from schemas.errors import InputError
from udfs.models.files import shown

# Suffixes only: a narrower choice would make the digest depend on what else the cache had fetched before.
ALLOWED_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.vocab")
_HUB_NAME = re.compile(r"(?![./~])[\w.-]+/[\w.-]+", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


def resolve_model_folder(path: str, revision: str | None) -> Path:
    """Finds the model folder that a path or hub name means, fetching it from the hub where needed.

    A path that exists is never taken for a hub name. `HF_HUB_OFFLINE`, `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` mean
    what they mean to the hub's own client.

    Args:
        path: A model folder, or a hub name `owner/name`.
        revision: Full commit id of the hub repository; None for a folder.

    Returns:
        The folder, not yet inspected.

    Raises:
        InputError: It is neither, the revision does not fit, or the hub does not give the model.
    """
    if os.path.exists(path):
        if revision is not None:
            raise InputError(
                f"{shown(path)} is a folder, which has no revision: remove the revision or rename the folder"
            )
        return Path(path)
    if not _HUB_NAME.fullmatch(path):
        raise InputError(
            f"{shown(path)} is no folder and no hub name: name a model folder, or owner/name with a revision"
        )
    if revision is None or not _COMMIT.fullmatch(revision):
        raise InputError(
            f"{path} is a hub name, and its revision {shown(revision)} is no full commit id: give all 40 hexadecimal"
            " digits (branches and tags move, and vectors of two states of a model are not comparable)"
        )
    return _fetch(path, revision)


def _fetch(name: str, revision: str) -> Path:
    # Importing the hub's client takes time that a run with a local folder need not spend.
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
        raise InputError(f"{name} has no commit {revision}: look it up on the model's page") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{name} is not on the hub, or not for you: check the name, and set HF_TOKEN if it is private or gated"
        ) from error
    except (EntryNotFoundError, OfflineModeIsEnabled) as error:
        raise InputError(
            f"{name} at {revision} is not in the local cache, and the hub cannot be reached or HF_HUB_OFFLINE is set:"
            " fetch it where there is a network, or name a model folder"
        ) from error
    # The client lets errors of its HTTP library, of the disk and of its own checks through.
    except Exception as error:
        cause = shown(f"{type(error).__name__}: {error}".splitlines()[0])
        raise InputError(
            f"{name} at {revision} could not be fetched ({cause}): check network and disk, or name a model folder"
        ) from error
