"""`staged_vectors`: finished inference, found again by its text's hash."""

from pyspark.sql.types import ArrayType, BooleanType, FloatType, IntegerType, StringType, StructType

from schemas.table import Table, column

STAGED_VECTORS = Table(
    "staged_vectors",
    "Embeddings by text hash, append-only, from inference until the run that needed them has ended well",
    StructType(
        [
            column("text_hash", StringType(), "SHA-256 (hex) of the text"),
            column("token_count", IntegerType(), "tokens of the text, prompt and special tokens included"),
            column("truncated", BooleanType(), "whether the model saw only the beginning"),
            column("reason", StringType(), "why there is no embedding"),
            column("detail", StringType(), "the reason in words"),
            column("embedding", ArrayType(FloatType()), "embedding of the text; null where there is a reason"),
        ]
    ),
)
