"""`staged_vectors`: finished inference, found again by its text's hash."""

from pyspark.sql.types import BooleanType, IntegerType, StringType, StructType

from schemas.embedding import embedding_type
from schemas.precision import OutputPrecision
from schemas.table import Table, column


def staged_vectors_table(precision: OutputPrecision = "float32") -> Table:
    """Describes the table of finished inference of one space.

    Args:
        precision: How numbers are stored.

    Returns:
        The table: one row for each text.
    """
    fields = [
        column("text_hash", StringType(), "SHA-256 (hex) of the text"),
        column("token_count", IntegerType(), "tokens of the text, prompt and special tokens included"),
        column("truncated", BooleanType(), "whether the model saw only the beginning"),
        column("reason", StringType(), "why there is no embedding"),
        column("detail", StringType(), "the reason in words"),
        column("embedding", embedding_type(precision), "embedding of the text; null where there is a reason"),
    ]
    what = "Embeddings by text hash, append-only, from inference until the run that needed them has ended well"
    return Table("staged_vectors", what, StructType(fields))


# Its name and columns, which are the same for every precision.
STAGED_VECTORS = staged_vectors_table()
