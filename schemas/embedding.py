"""How numbers of an embedding are stored, by the setting `model.precision`."""

from typing import Literal

from pyspark.sql.types import ArrayType, ByteType, FloatType

# float32: as the model makes them; int8: one byte a number, by ranges of the space; binary: one bit a number.
OutputPrecision = Literal["float32", "int8", "binary"]


def embedding_type(precision: OutputPrecision) -> ArrayType:
    """Chooses the column type.

    Args:
        precision: How numbers are stored.

    Returns:
        array<float>, or array<tinyint> of one byte for each number or for each eight bits.
    """
    return ArrayType(FloatType() if precision == "float32" else ByteType())


def stored_dimension(dimension: int, precision: OutputPrecision) -> int:
    """Counts the entries of a stored embedding.

    Args:
        dimension: Numbers of an embedding.
        precision: How numbers are stored.

    Returns:
        The length of the array.
    """
    return dimension // 8 if precision == "binary" else dimension
