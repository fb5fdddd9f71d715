"""Removing the tables of a space: as a whole where the store can, else all that they hold."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from schemas.documents import DOCUMENTS
from schemas.errors import InputError
from schemas.ledger import LEDGER
from schemas.staged import STAGED
from spark_jobs.runtime.properties import session_properties
from spark_jobs.store.failpoints import boundary
from spark_jobs.store.fence import Fence
from spark_jobs.store.properties import LISTING, UNCHECKED_RETENTION
from spark_jobs.store.tables import SpaceTables

TABLES = ("vectors", LEDGER.name, DOCUMENTS.name, "plan", *(table.name for table in STAGED))
_DROPPED = "dropped"


def is_left(tables: SpaceTables) -> bool:
    """Whether anything of a dropped space is still there: a table, or on an object store one with rows."""
    folder = _folder(tables)
    if folder is not None:
        return folder.exists()
    existing = (name for name in TABLES if tables.exists(name))
    in_catalog = tables.location.store.path is None
    return any(in_catalog or not tables.read(name).isEmpty() for name in existing)


def remove_tables(tables: SpaceTables, others: Sequence[str], fence: Fence, number: int) -> str | None:
    """Removes the tables of a space.

    Args:
        tables: The space's tables.
        others: Names of tables that it has beside `TABLES`.
        fence: Numbers the commits on object stores, where another process may still be at work.
        number: Makes the name unique under which a folder waits for its removal.

    Returns:
        What is left for a person to remove; None if nothing is.

    Raises:
        InputError: The folder cannot be removed.
    """
    folder, location = _folder(tables), tables.location
    with boundary("drop"):
        if folder is not None:
            _remove_folder(Path(str(location.store.folder)), folder, f"{location.library}__{location.space}__{number}")
            return None
        existing = [name for name in (*TABLES, *others) if tables.exists(name)]
        if location.store.path is None:
            for name in existing:
                tables.spark.sql(f"DROP TABLE IF EXISTS {tables.name(name)}")
            return None
        for name in existing:
            with fence.commit(tables.spark):
                tables.empty(name)
            with session_properties(tables.spark, {**LISTING, **UNCHECKED_RETENTION}):
                tables.vacuum(name, "0")
    return f"{location.store.path}/{location.library}/{location.space}" if existing else None


def _folder(tables: SpaceTables) -> Path | None:
    store = tables.location.store.folder
    return None if store is None else store / tables.location.library / tables.location.space


def _remove_folder(store: Path, folder: Path, name: str) -> None:
    waiting = store / "_embedlake" / _DROPPED
    try:
        waiting.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            # At once, so that no run meets half of a space.
            os.rename(folder, waiting / name)
        # What an earlier removal did not get to goes too.
        shutil.rmtree(waiting)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be removed: {error.strerror}. Check that the job may write there, and run again."
        ) from error
