"""`staged_chunks` and `staged_vectors`: the results of chunking and inference until they are merged."""

from pyspark.sql.types import ArrayType, BooleanType, IntegerType, LongType, StringType, StructField, StructType

from schemas.precision import OutputPrecision
from schemas.table import Table, column
from schemas.vectors import embedding_type

# The columns that a worker returns; the driver adds the run and the slice.
CHUNK_FIELDS = (
    column("doc_id", StringType(), "id of the document in the source"),
    column("chunk_index", IntegerType(), "position of the chunk in its document; null where it has no chunk"),
    column("chunk_id", StringType(), "UUID made of library, doc_id, text_hash and occurrence"),
    column("char_start", IntegerType(), "first character of the chunk in the document's text"),
    column("char_end", IntegerType(), "character after the chunk's last one"),
    column("text", StringType(), "text of the chunk"),
    column("context", StringType(), "what the model sees before the text; null without a context"),
    column("headings", ArrayType(StringType()), "headings that the chunk stands under; null where they are not known"),
    column("text_hash", StringType(), "SHA-256 (hex) of what the model sees of the chunk, without its prompt"),
    column("token_count", IntegerType(), "tokens of the chunk, prompt and special tokens included"),
    column("truncated", BooleanType(), "whether the model will see only the beginning"),
    column("reason", StringType(), "why the document cannot be cut into chunks"),
    column("detail", StringType(), "the reason in words"),
)
# What workers return beside them, to be counted and not stored.
READ_FIELDS = (
    column("unknown", IntegerType(), "tokens of the chunk that the model does not know"),
    column("unread", BooleanType(), "whether so much of the chunk is unknown that the model can hardly read it"),
)
CUT = StructType([*CHUNK_FIELDS, *READ_FIELDS])
STAGED_CHUNKS = Table(
    "staged_chunks",
    "Chunks of documents in flight, made and stored ones; a text without chunks has one row with chunk_index null",
    StructType(
        [
            column("run_id", StringType(), "run that cut the document"),
            column("slice_number", IntegerType(), "slice of the run, from 1"),
            column("is_made", BooleanType(), "whether the chunk was cut from the text that the run works on"),
            column("is_stored", BooleanType(), "whether vectors holds the chunk; its vector stays where it is"),
            *CHUNK_FIELDS,
        ]
    ),
)


def inference_fields(precision: OutputPrecision = "float32") -> list[StructField]:
    """Describes what a worker returns for each text; the driver adds the run and the slice."""
    return [
        column("text_hash", StringType(), "SHA-256 (hex) of the text"),
        column("token_count", IntegerType(), "tokens of the text, prompt and special tokens included"),
        column("truncated", BooleanType(), "whether the model saw only the beginning"),
        column("reason", StringType(), "why there is no embedding"),
        column("detail", StringType(), "the reason in words"),
        column("embedding", embedding_type(precision), "embedding of the text; null where there is a reason"),
    ]


def staged_vectors_table(precision: OutputPrecision = "float32") -> Table:
    """Describes the table of finished inference for one space: one row for each text of a slice."""
    fields = [
        column("run_number", LongType(), "run that staged the row"),
        column("slice_number", IntegerType(), "slice of the run, from 1"),
        *inference_fields(precision),
    ]
    what = "Embeddings by text hash, append-only, from inference until the run that needed them has ended well"
    return Table("staged_vectors", what, StructType(fields))


# Used for the table name and column names, which are the same for every precision.
STAGED_VECTORS = staged_vectors_table()
STAGED = (STAGED_CHUNKS, STAGED_VECTORS)
