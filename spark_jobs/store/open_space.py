"""A space at one version, as search, evaluation and export read it, and the model that its queries need."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, Row, SparkSession

from schemas.errors import InputError
from schemas.precision import OutputPrecision, stored_dimension
from spark_jobs.runtime.properties import set_properties
from spark_jobs.runtime.session import require_delta
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.specs import inference_spec
from spark_jobs.store.properties import SESSION
from spark_jobs.store.registry import read_registry
from spark_jobs.store.spaces import ranges_of, require_space, unknown_space
from spark_jobs.store.tables import SpaceTables, is_absent, space_tables
from spark_jobs.store.versions import PinnedVectors, pin_vectors
from udfs.models.fingerprint import model_fingerprint
from udfs.quantization import Ranges
from udfs.specs import InferenceSpec

# Approximate size of a chunk's text, ids and payload.
_OTHER_BYTES = 2048


@dataclass(frozen=True)
class StoredSpace:
    """A space as the registry describes it. Finding it does not look for the model.

    Attributes:
        settings: The configuration, naming this space, with the space's own model if it is not the configured space.
        tables: The space's tables.
        created_at: When it was registered.
        model_path: Name of the model that created it.
        model_fingerprint: Hash of everything that decides a vector.
        dimension: Numbers in an embedding.
        precision: How they are stored.
        ranges: Lowest and highest value of each number, if they are stored as int8.
    """

    settings: Settings
    tables: SpaceTables
    created_at: datetime
    model_path: str
    model_fingerprint: str
    dimension: int
    precision: OutputPrecision
    ranges: Ranges | None

    @property
    def name(self) -> str:
        """Library and space."""
        return f"{self.tables.location.library}.{self.tables.location.space}"

    def is_row(self, row: Row) -> bool:
        """Whether a row of the registry describes this space, and not one that has its name since it was dropped."""
        return (row.space, row.created_at) == (self.tables.location.space, self.created_at)

    @property
    def stored_width(self) -> int:
        """Entries in a stored embedding: bytes if precision is binary, else numbers."""
        return stored_dimension(self.dimension, self.precision)

    @property
    def row_bytes(self) -> int:
        """Rough size of a row on its way to the driver."""
        return self.stored_width * (4 if self.precision == "float32" else 1) + _OTHER_BYTES


@dataclass(frozen=True)
class OpenSpace(StoredSpace):
    """A space at one version.

    Attributes:
        vectors: Its rows at that version; there may be none.
    """

    vectors: PinnedVectors


def open_space(spark: SparkSession, settings: Settings, space: str | None = None) -> OpenSpace:
    """Opens a space for several passes over the same rows.

    Args:
        spark: The live session, with the properties of `delta_session`.
        settings: The configuration, which names the library.
        space: A space of the library to open instead of its active one.

    Returns:
        The space at its newest version.

    Raises:
        InputError: The space does not exist.
    """
    found = find_space(spark, settings, space)
    with _requiring_vectors(found):
        return OpenSpace(**vars(found), vectors=pin_vectors(found.tables))


def newest_rows(space: StoredSpace) -> DataFrame:
    """Reads the rows of a space for a single pass, at the version that is newest when this is called.

    Args:
        space: The space.

    Returns:
        Rows of `vectors`.

    Raises:
        InputError: The space has no vectors yet.
    """
    with _requiring_vectors(space):
        return space.tables.read("vectors")


@contextmanager
def _requiring_vectors(space: StoredSpace) -> Iterator[None]:
    try:
        yield
    except AnalysisException as error:
        if not is_absent(error):
            raise
        registry = read_registry(space.tables.spark, space.settings)
        raise unknown_space(registry, space.settings.library, space.settings.space) from error


def find_space(spark: SparkSession, settings: Settings, space: str | None = None) -> StoredSpace:
    """Looks up a space in the registry.

    Args:
        spark: The live session, with the properties of `delta_session`.
        settings: The configuration, which names the library.
        space: A space of the library to find instead of its active one.

    Returns:
        The space.

    Raises:
        InputError: The space does not exist.
    """
    row = require_space(spark, settings, space)
    spec = json.loads(row.model)
    if space is not None or row.space != settings.space:
        # As the registry describes its model, which is inspected again when it is used.
        kept = ("path", "revision", "document_prompt", "query_prompt", "normalize", "precision")
        model = {**{name: spec[name] for name in kept}, "dimensions": spec["dimension"]}
        updated = {"space": row.space, "model": settings.model.model_copy(update=model)}
        settings = settings.model_copy(update=updated)
    return StoredSpace(
        settings=settings,
        tables=space_tables(spark, settings),
        created_at=row.created_at,
        model_path=spec["path"],
        model_fingerprint=row.model_fingerprint,
        dimension=row.dimension,
        precision=spec["precision"],
        ranges=ranges_of(row),
    )


def read_vectors(spark: SparkSession, settings: Settings, space: str | None = None) -> DataFrame:
    """Reads the vectors of a library, for notebooks and downstream jobs: all of one space, whatever is promoted then.

    Args:
        spark: The live session; keeps the properties that reading the store needs.
        settings: The configuration, which names the library and its store.
        space: A space of the library to read instead of its active one.

    Returns:
        The current rows of the space's `vectors` table.

    Raises:
        InputError: The space does not exist, or has no vectors yet.
    """
    require_delta(spark)
    set_properties(spark, SESSION)
    return newest_rows(find_space(spark, settings, space))


def search_model(space: StoredSpace, described: InferenceSpec | None = None) -> InferenceSpec:
    """Describes the model that created a space, with the space's ranges; the spec still embeds documents.

    Args:
        space: The space.
        described: The model of the settings, if it has been inspected already.

    Returns:
        The model and how it runs.

    Raises:
        InputError: The model cannot be used, or is not the one that created the space.
    """
    inference = described or inference_spec(space.settings)
    if model_fingerprint(inference.model) != space.model_fingerprint:
        raise InputError(
            f"space {space.name} was made by the model {space.model_path}. The configured model {inference.model.path} "
            "differs from it in its files or settings. Restore them, or name another space."
        )
    return replace(inference, ranges=space.ranges)
