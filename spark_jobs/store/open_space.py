"""A space at one version, as search, evaluation and export see it; and, for search, the model that made it."""

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

# Text, ids and payload of a chunk, roughly.
_OTHER_BYTES = 2048


@dataclass(frozen=True)
class OpenSpace:
    """A space at one version. Opening it does not look for the model.

    Attributes:
        settings: The configuration, with the space's own model where another space than the configured one is open.
        tables: Its tables.
        vectors: Its rows, at one version, which may be none.
        model_path: Name of the model that made it.
        model_fingerprint: Hash of everything that decides a vector.
        dimension: Numbers of an embedding.
        precision: How they are stored.
        ranges: Lowest and highest value of each number, where they are stored as int8.
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
        """Entries of a stored embedding."""
        return stored_dimension(self.dimension, self.precision)

    @property
    def row_bytes(self) -> int:
        """What a row takes on its way to the driver, roughly."""
        return self.stored_width * (4 if self.precision == "float32" else 1) + _OTHER_BYTES


def open_space(spark: SparkSession, settings: Settings, space: str | None = None) -> OpenSpace:
    """Opens a space for reading.

    Args:
        spark: The live session, with the properties that reading the store needs.
        settings: The whole configuration.
        space: Another space of the library than the configured one.

    Returns:
        The space.

    Raises:
        InputError: The space does not exist.
    """
    if space is not None:
        settings = settings.model_copy(update={"space": space})
    row, tables = require_space(spark, settings), space_tables(spark, settings)
    made = json.loads(row.model)
    if space is not None:
        # What the registry says of its model, which is inspected anew when it is used.
        kept = ("path", "revision", "document_prompt", "query_prompt", "normalize", "precision")
        model = {**{name: made[name] for name in kept}, "dimensions": made["dimension"]}
        settings = settings.model_copy(update={"model": settings.model.model_copy(update=model)})
    return OpenSpace(
        settings=settings,
        tables=tables,
        vectors=pin_vectors(tables),
        model_path=made["path"],
        model_fingerprint=row.model_fingerprint,
        dimension=row.dimension,
        precision=made["precision"],
        ranges=ranges_of(row),
    )


def search_model(space: OpenSpace) -> InferenceSpec:
    """Describes the model that made a space, so that queries can be embedded by it.

    Returns:
        The model and how it runs, with the space's ranges; embeds documents.

    Raises:
        InputError: The model cannot be used, or is not the one that made the space.
    """
    inference = inference_spec(space.settings)
    if model_fingerprint(inference.model) != space.model_fingerprint:
        raise InputError(
            f"space {space.name} was made by the model {space.model_path}, which is another one than "
            f"{inference.model.path} is now, or had other settings: put it back, or name another space"
        )
    return replace(inference, ranges=space.ranges)
