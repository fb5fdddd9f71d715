"""Forms in which embeddings are stored, by the setting `model.precision`.

Apart from the column types, for the inference engine needs the words and must not need Spark.
"""

from typing import Literal

# float32: as the model makes them; int8: one byte a number, by ranges of the space; binary: one bit a number.
OutputPrecision = Literal["float32", "int8", "binary"]


def stored_dimension(dimension: int, precision: OutputPrecision) -> int:
    """Counts the entries of a stored embedding.

    Args:
        dimension: Numbers of an embedding.
        precision: How numbers are stored.

    Returns:
        The length of the array.
    """
    return dimension // 8 if precision == "binary" else dimension
