"""The column type of a stored embedding."""

from pyspark.sql.types import ArrayType, ByteType, FloatType

from schemas.precision import OutputPrecision


def embedding_type(precision: OutputPrecision) -> ArrayType:
    """Chooses the column type.

    Args:
        precision: How numbers are stored.

    Returns:
        array<float>, or array<tinyint> of one byte for each number or for each eight bits.
    """
    return ArrayType(FloatType() if precision == "float32" else ByteType())
