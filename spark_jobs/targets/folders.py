"""Files of a target folder: written so that neither a crash nor a full disk leaves them half done, and read back."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import InputError
from spark_jobs.targets.stamp import check_stamp
from spark_jobs.targets.target import RowFormat

# Readers of a folder of data skip names that begin with an underscore.
MANIFEST = "_embedlake.json"
STAGING = "_embedlake-staging"

_GROUP_ROWS = 8192


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns errors of writing a folder into InputErrors. Do not read incoming rows inside, only write."""
    try:
        yield
    # Arrow raises OSErrors for files; faiss and usearch raise RuntimeErrors.
    except (OSError, RuntimeError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise InputError(
            f"the folder {folder} cannot be written: {cause}. Free up disk space, or check that the job may write "
            "there, then export again. The rows that were there before are unchanged."
        ) from error


def read_manifest(folder: Path, kind: str) -> dict[str, Any] | None:
    """Reads the manifest of a target folder: its kind, its ownership stamp and the current files.

    Args:
        folder: The folder.
        kind: The expected kind of target.

    Returns:
        The content of `_embedlake.json`; None if the folder is missing or empty.

    Raises:
        InputError: The folder cannot be read, or contains something else.
    """
    try:
        names = set(os.listdir(folder))
        text = (folder / MANIFEST).read_text(encoding="utf-8") if MANIFEST in names else None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else f"its {MANIFEST} is not text"
        raise InputError(f"the folder {folder} cannot be read as a target: {cause}. Name another folder.") from error
    if text is None:
        if names - {STAGING}:
            raise InputError(
                f"the folder {folder} contains files that embedlake did not create, such as "
                f"{min(names - {STAGING})!a}. Name an empty or a new folder."
            )
        return None
    try:
        manifest = json.loads(text)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        raise InputError(f"the folder {folder} is not a {kind} export of embedlake. Name an empty or a new folder.")
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Replaces `_embedlake.json` atomically: readers see either the old or the new one."""
    staged = folder / STAGING / MANIFEST
    staged.parent.mkdir(exist_ok=True)
    staged.write_text(json.dumps(manifest, indent=1, ensure_ascii=True), encoding="ascii")
    sync(staged).replace(folder / MANIFEST)
    sync(folder)


def prepare_folder(
    folder: Path, kind: str, row_format: RowFormat, full: bool
) -> tuple[dict[str, Any] | None, str | None]:
    """Creates a missing folder or checks an existing one; returns its manifest and the result of `check_stamp`."""
    manifest, replaced = read_manifest(folder, kind), None
    if manifest is not None:
        replaced = check_stamp(manifest, row_format, full, f"the folder {folder}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return manifest, replaced


def empty_staging(folder: Path) -> None:
    """Creates an empty staging folder next to the data, and removes what a killed export may have left there."""
    staging = folder / STAGING
    with writing(folder):
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()


def sync(path: Path) -> Path:
    """Flushes a file, or a folder's entries, to disk so that they survive a power loss; returns the path."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
    return path


def read_columns(path: Path, names: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Reads columns of a Parquet file in bounded memory; raises InputError if it is missing or damaged."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_GROUP_ROWS, columns=names):
                # Columns are requested by path, so `a` also brings a column whose plain name is `a.b`.
                yield batch if names is None else batch.select(names)
    except (OSError, pa.ArrowInvalid) as error:
        raise damage_error(path) from error


def count_rows(path: Path) -> int:
    """Reads the number of rows from a Parquet file's footer; raises InputError if it is missing or damaged."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid) as error:
        raise damage_error(path) from error


def damage_error(path: Path) -> InputError:
    """Builds the error for an exported file that cannot be used."""
    return InputError(f"the exported file {path} is missing or damaged. Export with --full to replace all of it.")


def write_rows(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    """Writes a Parquet file with row groups of 8,192 rows or more, and flushes it to disk."""
    # Dictionaries and statistics of vectors are useless. ParquetWriter also accepts names, which its stubs do not say.
    described: Any = "embedding" not in schema.names or [name for name in schema.names if name != "embedding"]
    options = {"compression": "zstd", "use_dictionary": described, "write_statistics": described}
    with pq.ParquetWriter(path, schema, **options) as writer:
        for table in _row_groups(batches):
            writer.write_table(table)
    sync(path)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(other.num_rows for other in group) >= _GROUP_ROWS:
            yield pa.Table.from_batches(group)
            group = []
    if group:
        yield pa.Table.from_batches(group)
