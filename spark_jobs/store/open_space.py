"""A space at one version, as search, evaluation and export read it, and the model that its queries need."""

import json
from dataclasses import dataclass, replace

from pyspark.sql import SparkSession

from schemas.errors import InputError
from schemas.precision import OutputPrecision, stored_dimension
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.specs import inference_spec
from spark_jobs.store.spaces import ranges_of, require_space
from spark_jobs.store.tables import SpaceTables, space_tables
from spark_jobs.store.versions import PinnedVectors, pin_vectors
from udfs.models.fingerprint import model_fingerprint
from udfs.quantization import Ranges
from udfs.specs import InferenceSpec

# Approximate size of a chunk's text, ids and payload.
_OTHER_BYTES = 2048


@dataclass(frozen=True)
class OpenSpace:
    """A space at one version. Opening it does not look for the model.

    Attributes:
        settings: The configuration, with the space's own model if it is not the configured space.
        tables: The space's tables.
        vectors: Its rows at that version; there may be none.
        model_path: Name of the model that created it.
        model_fingerprint: Hash of everything that decides a vector.
        dimension: Numbers in an embedding.
        precision: How they are stored.
        ranges: Lowest and highest value of each number, if they are stored as int8.
    """

    settings: Settings
    tables: SpaceTables
    vectors: PinnedVectors
    model_path: str
    model_fingerprint: str
    dimension: int
    precision: OutputPrecision
    ranges: Ranges | None

    @property
    def name(self) -> str:
        """Library and space."""
        return f"{self.tables.location.library}.{self.tables.location.space}"

    @property
    def stored_width(self) -> int:
        """Entries in a stored embedding: bytes if precision is binary, else numbers."""
        return stored_dimension(self.dimension, self.precision)

    @property
    def row_bytes(self) -> int:
        """Rough size of a row on its way to the driver."""
        return self.stored_width * (4 if self.precision == "float32" else 1) + _OTHER_BYTES


def open_space(spark: SparkSession, settings: Settings, space: str | None = None) -> OpenSpace:
    """Opens a space for reading.

    Args:
        spark: The live session, with the properties of `delta_session`.
        settings: The configuration, which names a space.
        space: A space of the library to open instead of the configured one.

    Returns:
        The space at its newest version.

    Raises:
        InputError: The space does not exist.
    """
    if space is not None:
        settings = settings.model_copy(update={"space": space})
    row, tables = require_space(spark, settings), space_tables(spark, settings)
    spec = json.loads(row.model)
    if space is not None:
        # As the registry describes its model, which is inspected again when it is used.
        kept = ("path", "revision", "document_prompt", "query_prompt", "normalize", "precision")
        model = {**{name: spec[name] for name in kept}, "dimensions": spec["dimension"]}
        settings = settings.model_copy(update={"model": settings.model.model_copy(update=model)})
    return OpenSpace(
        settings=settings,
        tables=tables,
        vectors=pin_vectors(tables),
        model_path=spec["path"],
        model_fingerprint=row.model_fingerprint,
        dimension=row.dimension,
        precision=spec["precision"],
        ranges=ranges_of(row),
    )


def search_model(space: OpenSpace) -> InferenceSpec:
    """Describes the model that created a space, with the space's ranges; the spec still embeds documents.

    Refuses a model that cannot be used, or that is not the one that created the space.
    """
    inference = inference_spec(space.settings)
    if model_fingerprint(inference.model) != space.model_fingerprint:
        raise InputError(
            f"space {space.name} was made by the model {space.model_path}. The configured model {inference.model.path} "
            "differs from it in its files or settings. Restore them, or name another space."
        )
    return replace(inference, ranges=space.ranges)
