"""A space as an export sees it: its vectors at one version, and what the registry says of them."""

import json
from dataclasses import dataclass

from pyspark.sql import SparkSession

from schemas.precision import OutputPrecision, stored_dimension
from spark_jobs import store
from spark_jobs.settings import Settings
from spark_jobs.spaces import ranges_of, require_space
from spark_jobs.vector_history import Pinned, pin_vectors
from udfs.quantization import Ranges

# Text, ids and payload of a chunk, roughly.
_OTHER_BYTES = 2048


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
    place: store.Place
    vectors: Pinned
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
    row, place = require_space(spark, settings), store.place_of(settings)
    return ExportSpace(
        name=f"{settings.library}.{settings.space}",
        place=place,
        vectors=pin_vectors(spark, place),
        model_fingerprint=row.model_fingerprint,
        dimension=row.dimension,
        precision=json.loads(row.model)["precision"],
        ranges=ranges_of(row),
    )
