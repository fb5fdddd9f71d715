"""The checks before any inference: model, chunking, source, store and space, all faults in one message."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pyspark.sql import SparkSession

from schemas.errors import InputError, SourceError
from schemas.table import name_parts
from spark_jobs.embedding.folder import Folder, look_at_folder
from spark_jobs.embedding.source_reading import SourceReading
from spark_jobs.runtime.threads import beside
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.sections import split_path
from spark_jobs.settings.specs import chunk_spec, inference_spec
from spark_jobs.sources.columns import name_clashes
from spark_jobs.sources.source import Source, check_ids
from spark_jobs.store.registry import Registry, read_registry
from spark_jobs.store.spaces import as_made, check_space
from spark_jobs.store.tables import location_of, space_tables, stored_types
from udfs.chunk_documents import optional_columns
from udfs.models.fingerprint import chunking_fingerprint, model_fingerprint
from udfs.specs import ChunkSpec, InferenceSpec

Checked = TypeVar("Checked")

# Different clients of one system.
_SAME_SCHEMES = {"s3a": "s3", "s3n": "s3", "abfss": "abfs", "wasbs": "wasb", "swebhdfs": "webhdfs"}
_TABLES = (
    "vectors",
    "ledger",
    "documents",
    "plan",
    "staged_chunks",
    "staged_vectors",
    "runs",
    "spaces",
    "evaluations",
    "exports",
)


@dataclass(frozen=True)
class PreflightResult:
    """What a run can rely on.

    Attributes:
        source: The pinned source.
        inference: The model and how it runs.
        chunking: The chunking rule.
        model_fingerprint: Hash of everything that decides a vector.
        chunking_fingerprint: Hash of the chunking rule.
        registry: What the store's registry says of the library.
        reading: What the run shares of the source with those of other spaces.
        folder: The folder of a library whose files are parsed; None for other sources.
    """

    source: Source
    inference: InferenceSpec
    chunking: ChunkSpec
    model_fingerprint: str
    chunking_fingerprint: str
    registry: Registry
    reading: SourceReading
    folder: Folder | None = None


def run_preflight(
    spark: SparkSession,
    settings: Settings,
    reading: SourceReading | None = None,
    retries: bool = False,
    only_texts: bool = False,
) -> PreflightResult:
    """Checks model, chunking, columns of the source, store and space; writes nothing.

    Ids are checked while source and ledger are compared. Only if something else is wrong are they checked here, so that
    one message has all faults.

    Args:
        spark: A live session.
        settings: The whole configuration, as `with_parsed` returns it.
        reading: Opens the source for several spaces; None for this one alone.
        retries: Whether to try files again that could not be parsed.
        only_texts: Whether what was parsed from files is enough, and their folder is not looked at; see `with_texts`.

    Returns:
        What the run can rely on.

    Raises:
        InputError: Lists every fault found; a SourceError if all of them concern the source.
    """
    faults: list[InputError] = []
    reading = reading or SourceReading()
    known = partial(stored_types, space_tables(spark, settings))
    found = beside(spark, lambda: read_registry(spark, settings))
    model = _collected(lambda: inference_spec(settings), faults)
    source = _collected(lambda: reading.open(spark, settings.source, known), faults)
    folder = None
    if settings.source.is_parsed and not only_texts:
        folder = _collected(lambda: look_at_folder(spark, settings, source, retries=retries), faults)
    _collected(lambda: check_store(settings), faults)
    chunking = _collected(lambda: chunk_spec(settings, model.model), faults) if model else None
    if faults or model is None or source is None or chunking is None:
        if source is not None:
            _collected(lambda: check_ids(source, settings.source), faults)
        # A source that no longer fits has an exit code of its own, unless something else is wrong too.
        kind = SourceError if all(isinstance(fault, SourceError) for fault in faults) else InputError
        raise kind(sentence for fault in faults for sentence in fault.faults)
    registry = found()
    chunking = as_made(registry.row, settings, chunking)
    check_space(registry.row, settings.space, model.model, chunking)
    clashes = name_clashes(settings.source, optional_columns(chunking))
    if clashes:
        raise SourceError(f"the source {settings.source.path or settings.source.table}: {fault}" for fault in clashes)
    return PreflightResult(
        source=source if folder is None else folder.told(source),
        inference=model,
        chunking=chunking,
        model_fingerprint=model_fingerprint(model.model),
        chunking_fingerprint=chunking_fingerprint(chunking, model.model),
        registry=registry,
        reading=reading,
        folder=folder,
    )


def _collected(check: Callable[[], Checked], faults: list[InputError]) -> Checked | None:
    try:
        return check()
    except InputError as error:
        faults.append(error)
        return None


def check_store(settings: Settings) -> None:
    """Raises InputError if the store's folder is not writable, or if store and source overlap."""
    faults = _overlap(settings)
    if settings.store.folder is not None:
        faults += _not_writable(settings.store.folder, settings.store.path)
    if faults:
        raise InputError(faults)


def _not_writable(folder: Path, path: str | None) -> list[str]:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        return []
    cause = "is not writable" if folder.is_dir() else "is a file"
    return [f"store.path {path} cannot be used because {folder} {cause}. Choose a folder that the job may write to."]


def _overlap(settings: Settings) -> list[str]:
    source, location = settings.source, location_of(settings)
    source_path = source.path or _path_in_name(source.table or "")
    if source_path is None and source.table is not None:
        names = [*(location.name(table) for table in _TABLES), location.view or ""]
        of_store = [name_parts(name.lower()) for name in names if name]
        if name_parts(source.table.lower()) in of_store:
            return [f"source.table {source.table} is a table of the store. Name a table outside the store."]
        return []
    if source_path is None or settings.store.path is None:
        return []
    source_parts, store_parts = _path_parts(source_path), _path_parts(settings.store.path)
    if not source_parts[1] or not store_parts[1]:
        # Without a server a path is on the default one, which may be the other's.
        source_parts, store_parts = (parts[:1] + parts[2:] for parts in (source_parts, store_parts))
    shared = min(len(source_parts), len(store_parts))
    if source_parts[:shared] != store_parts[:shared]:
        return []
    named = f"source.{'path' if source.path else 'table'} {source_path}"
    return [
        f"{named} and store.path {settings.store.path} overlap, so a run would read what it writes. Keep them apart."
    ]


def _path_in_name(table: str) -> str | None:
    # Spark reads delta.`<path>` as the table at that path.
    parts = name_parts(table) if table else []
    return parts[1] if len(parts) == 2 and parts[0].lower() == "delta" and "/" in parts[1] else None


def _path_parts(path: str) -> tuple[str, ...]:
    scheme, server, rest = split_path(path)
    if scheme in ("", "file"):
        return ("file", "", *PurePosixPath(os.path.realpath("/" + rest.lstrip("/"))).parts)
    return (_SAME_SCHEMES.get(scheme, scheme), server, *PurePosixPath("/" + rest.lstrip("/")).parts)
