"""The storage formats of embeddings, named by the setting `model.precision`.

Separate from the column types because the inference engine needs these words without Spark.
"""

from typing import Literal

# float32: as the model returns them; int8: one byte per number, scaled to the space's ranges; binary: one bit each.
OutputPrecision = Literal["float32", "int8", "binary"]


def stored_dimension(dimension: int, precision: OutputPrecision) -> int:
    """Returns the array length of a stored embedding; binary packs eight numbers into each entry."""
    return dimension // 8 if precision == "binary" else dimension
