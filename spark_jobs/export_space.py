"""A space as an export sees it: its vectors at one version, and what the registry says of them."""

import json
from dataclasses import dataclass

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.precision import OutputPrecision, stored_dimension
from schemas.spaces import SPACES
from spark_jobs import store
from spark_jobs.settings import Settings
from spark_jobs.spaces import ranges_of, registered
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
    row, place = registered(spark, settings), store.place_of(settings)
    if row is None or not store.exists(spark, place.name("vectors")):
        raise InputError(_unknown(spark, settings))
    return ExportSpace(
        name=f"{settings.library}.{settings.space}",
        place=place,
        vectors=pin_vectors(spark, place),
        model_fingerprint=row.model_fingerprint,
        dimension=row.dimension,
        precision=json.loads(row.model)["precision"],
        ranges=ranges_of(row),
    )


def _unknown(spark: SparkSession, settings: Settings) -> str:
    place, known = store.place_of(settings), []
    if store.exists(spark, place.name(SPACES.name)):
        rows = store.read(spark, place, SPACES.name).where(F.col("library") == settings.library)
        # The registry has a row for each space that somebody made by hand.
        known = sorted({row.space for row in rows.select("space").distinct().collect()})
    of_them = f"it has {', '.join(known)}" if known else "no run has written to it yet"
    return f"library {settings.library} has no space {settings.space} ({of_them}): run embedlake embed, or name another"
