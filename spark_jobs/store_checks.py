"""Whether the store lies where a run may write, and apart from the source."""

import os
from pathlib import Path, PurePosixPath

from schemas.errors import InputError
from spark_jobs import store
from spark_jobs.settings import Settings

_TABLES = ("vectors", "ledger", "plan", "staged_chunks", "staged_vectors", "runs", "spaces", "evaluations", "exports")


def check_store(settings: Settings) -> None:
    """Checks what can be known of the store before the first commit.

    Args:
        settings: The whole configuration.

    Raises:
        InputError: Its folder cannot be written, or store and source lie one inside the other.
    """
    faults = _apart(settings)
    if settings.store.is_local:
        faults += _writable(settings.store.path or "")
    if faults:
        raise InputError(faults)


def _writable(path: str) -> list[str]:
    folder = Path(path.removeprefix("file:"))
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        return []
    what = "may not be written" if folder.is_dir() else "is a file"
    return [f"store.path {path} cannot be used: {folder} {what}: choose a folder that the job may write"]


def _apart(settings: Settings) -> list[str]:
    source, place = settings.source, store.place_of(settings)
    if source.table is not None:
        names = [*(place.name(table) for table in _TABLES), place.view or ""]
        own = {name.replace("`", "").lower() for name in names}
        if source.table.replace("`", "").lower() in own:
            return [f"source.table {source.table} is a table of the store: a library cannot be its own source"]
        return []
    if source.path is None or settings.store.path is None:
        return []
    below, above = _parts(source.path), _parts(settings.store.path)
    shared = min(len(below), len(above))
    if below[:shared] != above[:shared]:
        return []
    return [
        f"source.path {source.path} and store.path {settings.store.path} lie one inside the other: a run would read "
        "what it writes; keep them apart"
    ]


def _parts(path: str) -> tuple[str, ...]:
    scheme, separator, rest = path.partition("://")
    local = path.removeprefix("file:") if not separator or scheme == "file" else None
    if local is not None:
        return PurePosixPath(os.path.realpath("/" + local.lstrip("/"))).parts
    return (scheme.replace("s3a", "s3"), *PurePosixPath(rest).parts)
