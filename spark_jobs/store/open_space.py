"""A space as search, evaluation and export see it: its vectors at one version, and the model that made them."""

import json
from dataclasses import dataclass
from dataclasses import replace
from pyspark.sql import DataFrame
from pyspark.sql import Row
from pyspark.sql import SparkSession
from schemas.errors import InputError
from spark_jobs.settings.specs import inference_spec
from spark_jobs.settings.loading import Settings
from spark_jobs.store.spaces import ranges_of
from spark_jobs.store.spaces import require_space
from spark_jobs.store.versions import newest_version
from spark_jobs.store.versions import read_pinned
from udfs.models.fingerprint import model_fingerprint
from udfs.specs import InferenceSpec
from spark_jobs.store import tables
from schemas.precision import OutputPrecision
from schemas.precision import stored_dimension
from spark_jobs.store.versions import PinnedVectors
from spark_jobs.store.versions import pin_vectors
from udfs.quantization import Ranges

# Text, ids and payload of a chunk, roughly.
_OTHER_BYTES = 2048


@dataclass(frozen=True)
class OpenSpace:
    """A space that can be searched.

    Attributes:
        name: Library and space.
        place: Where its tables lie.
        vectors: Its rows, at one version, however often they are read.
        version: That version.
        inference: The model and how it runs, with the space's ranges; embeds documents.
        model_fingerprint: Hash of everything that decides a vector.
    """

    name: str
    place: tables.TableLocation
    vectors: DataFrame
    version: int
    inference: InferenceSpec
    model_fingerprint: str


def open_space(spark: SparkSession, settings: Settings, space: str | None = None) -> OpenSpace:
    """Opens a space for reading.

    Args:
        spark: The live session, with the properties that reading the store needs.
        settings: The whole configuration.
        space: Another space of the library than the settings', which is then read by the model that made it.

    Returns:
        The space.

    Raises:
        InputError: There is no such space, or the settings name another model than the one that made it.
    """
    if space is not None:
        settings = settings.model_copy(update={"space": space})
    row, place = require_space(spark, settings), tables.location_of(settings)
    inference = inference_spec(settings if space is None else _as_made(settings, row))
    found = model_fingerprint(inference.model)
    if found != row.model_fingerprint:
        made = json.loads(row.model)
        raise InputError(
            f"space {settings.library}.{settings.space} was made by the model {made['path']}, which is another one "
            f"than {inference.model.path} is now, or had other settings: put it back, or name another space"
        )
    version = newest_version(spark, place, "vectors")
    return OpenSpace(
        name=f"{settings.library}.{settings.space}",
        place=place,
        vectors=read_pinned(spark, place, "vectors", version),
        version=version,
        inference=replace(inference, ranges=ranges_of(row)),
        model_fingerprint=found,
    )


def _as_made(settings: Settings, row: Row) -> Settings:
    # Described anew by the caller: the folder may hold something else by now.
    made = json.loads(row.model)
    kept = ("path", "revision", "document_prompt", "query_prompt", "normalize", "precision")
    model = {**{name: made[name] for name in kept}, "dimensions": made["dimension"]}
    return settings.model_copy(update={"model": settings.model.model_copy(update=model)})


@dataclass(frozen=True)
class ExportSpace:
    """A space that is exported. The model itself is not needed for it, and not looked for.

    Attributes:
        name: Library and space.
        place: Where its tables lie.
        vectors: Its rows, at one version.
        model_fingerprint: Hash of everything that decides a vector.
        dimension: Numbers of an embedding.
        precision: How they are stored.
        ranges: Lowest and highest value of each number, where they are stored as int8.
    """

    name: str
    place: tables.TableLocation
    vectors: PinnedVectors
    model_fingerprint: str
    dimension: int
    precision: OutputPrecision
    ranges: Ranges | None

    @property
    def stored_width(self) -> int:
        """Entries of a stored embedding."""
        return stored_dimension(self.dimension, self.precision)

    @property
    def row_bytes(self) -> int:
        """What a row takes on its way to the driver, roughly."""
        return self.stored_width * (4 if self.precision == "float32" else 1) + _OTHER_BYTES


def open_export_space(spark: SparkSession, settings: Settings) -> ExportSpace:
    """Opens the settings' space.

    Args:
        spark: The live session, with the properties that reading the store needs.
        settings: The whole configuration.

    Returns:
        The space, which may have no rows.

    Raises:
        InputError: There is no such space.
    """
    row, place = require_space(spark, settings), tables.location_of(settings)
    return ExportSpace(
        name=f"{settings.library}.{settings.space}",
        place=place,
        vectors=pin_vectors(spark, place),
        model_fingerprint=row.model_fingerprint,
        dimension=row.dimension,
        precision=json.loads(row.model)["precision"],
        ranges=ranges_of(row),
    )
