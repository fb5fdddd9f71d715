"""The way to Qdrant: a server, or the client's local mode in a folder; and what they refuse, in words."""

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import InputError, RunActiveError
from spark_jobs.target_address import Address

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

KEY = "QDRANT_API_KEY"
_SECONDS = 60
_NO_ANSWER = "the server cannot be reached or understood ({}): check host and port, http or https, and that it is up"
# What the local mode puts into its folder first.
_LOCAL_MARK = "meta.json"


def require_qdrant() -> None:
    """Makes sure that Qdrant's client is there.

    Raises:
        InputError: It is not.
    """
    try:
        import qdrant_client  # noqa: F401
    except ImportError as error:
        raise InputError("the target qdrant needs qdrant-client: pip install 'embedlake[qdrant]'") from error


def connected(address: Address, is_new_allowed: bool) -> "QdrantClient | None":
    """Opens a client.

    Args:
        address: The server or folder.
        is_new_allowed: Whether a folder may be made.

    Returns:
        The client; None where there is no folder, and none may be made.

    Raises:
        InputError: The folder holds something else.
        RunActiveError: Another process has the folder open.
    """
    from qdrant_client import QdrantClient

    with refusals(address), warnings.catch_warnings():
        # What it warns of is said in `notes`: a key that travels in the open, many rows in local mode.
        warnings.simplefilter("ignore")
        if address.is_server:
            # An empty variable is one that somebody meant to unset.
            key = os.environ.get(KEY) or None
            return QdrantClient(url=address.place, api_key=key, timeout=_SECONDS, check_compatibility=False)
        if not _is_local(address) and not is_new_allowed:
            return None
        try:
            return QdrantClient(path=address.place)
        except RuntimeError as error:
            raise RunActiveError(
                f"{address}: another process has the folder open, and local mode is for one at a time: wait for it to "
                "end, or use a server"
            ) from error


def _is_local(address: Address) -> bool:
    folder = Path(address.place)
    names = os.listdir(folder) if folder.exists() else []
    if names and _LOCAL_MARK not in names:
        raise InputError(f"{address}: the folder holds something else: name an empty or a new folder")
    return bool(names)


@contextmanager
def refusals(address: Address) -> Iterator[None]:
    """Says in words what the server or the folder refuses.

    Args:
        address: The target.

    Raises:
        InputError: It was refused, or cannot be reached.
    """
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except ApiException as error:
        # Not chained: answers may repeat what was sent.
        raise InputError(f"{address}: {_what(error)}") from None
    except (OSError, sqlite3.Error) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"{address}: the folder cannot be read or written ({cause}): make room there, or check that the job may "
            "write, then export again"
        ) from error
    except (ValueError, KeyError) as error:
        if address.is_server:
            # Its answer was no JSON.
            raise InputError(f"{address}: {_NO_ANSWER.format('no answer of Qdrant')}") from None
        raise InputError(f"{address}: the folder is no storage of Qdrant's local mode: name another one") from error


def _what(error: Exception) -> str:
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, UnexpectedResponse):
        if error.status_code in (401, 403):
            return f"the server does not let this job in: set {KEY} to a key that may write"
        if b"No space left" in error.content:
            return "the server's disk is full: make room there, then export again"
        return (
            f"the server refuses with {error.status_code} {error.reason_phrase}: see its log, and check that it is "
            "Qdrant 1.16 or newer, by http or https as named"
        )
    if isinstance(error, ResponseHandlingException):
        return _NO_ANSWER.format(type(error.source).__name__)
    return "the server has no room for more requests now: export again later"
