"""What LanceDB can hold, what it refuses, and whose a table is."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from schemas.errors import InputError
from spark_jobs.target_address import Address

MARK = b"embedlake"
# Columns of LanceDB's own, in tables or in results of searches.
_OWN_COLUMNS = {
    "_distance",
    "_relevance_score",
    "_row_created_at_version",
    "_row_last_updated_at_version",
    "_rowaddr",
    "_rowid",
    "_rowoffset",
    "_score",
}


def load_lancedb() -> Any:
    """Imports LanceDB.

    Returns:
        The package.

    Raises:
        InputError: It is not installed.
    """
    # It writes warnings of no use to anybody straight to standard error.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb
    except ImportError as error:
        raise InputError("the target lancedb needs lancedb: pip install 'embedlake[lancedb]'") from error
    return lancedb


def mark_in(schema: pa.Schema) -> Any:
    """Reads the mark of a table.

    Args:
        schema: The table's schema.

    Returns:
        The mark; anything else where there is none.
    """
    try:
        return json.loads((schema.metadata or {}).get(MARK, b""))
    except ValueError:
        return None


def check_names(rows: pa.Schema) -> None:
    """Refuses column names that LanceDB cannot hold.

    Args:
        rows: Columns of an export.

    Raises:
        InputError: There are such names; each is named.
    """
    faults = [
        f"the payload column {field.name!a} cannot be kept by LanceDB: rename it in the source, to a name of its own "
        "without dots, backticks and NUL characters"
        for field in rows
        # Parts of structs may have any name without NUL.
        if not field.name or field.name in _OWN_COLUMNS or set(field.name) & set(".`\0") or "\0" in str(field.type)
    ]
    if faults:
        raise InputError(faults)


@contextmanager
def refusals(address: Address) -> Iterator[None]:
    """Says in words what LanceDB refuses.

    Args:
        address: The target.

    Raises:
        InputError: It was refused.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        # Its messages may quote rows: of them only the system's own words are repeated.
        found = re.search(r"([A-Z][A-Za-z ]*) \(os error \d+\)", str(error)) or re.search(
            r"LanceError\((\w+)\)", str(error)
        )
        cause = found[1] if found else type(error).__name__
        raise InputError(
            f"{address}: the table cannot be read or written ({cause}): make room there, or check that the job may "
            "write, then export again"
        ) from None
