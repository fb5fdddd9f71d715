"""The forms in which embeddings are stored, by the setting `model.precision`.

Separate from the column types, because the inference engine needs these words without Spark.
"""

from typing import Literal

# float32: as the model returns them; int8: one byte per number, by ranges of the space; binary: one bit per number.
OutputPrecision = Literal["float32", "int8", "binary"]


def stored_dimension(dimension: int, precision: OutputPrecision) -> int:
    """Returns the length of a stored embedding's array; binary packs eight numbers into each entry."""
    return dimension // 8 if precision == "binary" else dimension
