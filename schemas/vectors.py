"""`vectors`: chunks with their embeddings; this is the table that retrieval systems read."""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    ByteType,
    FloatType,
    IntegerType,
    StringType,
    StructField,
    StructType,
)

from schemas.context import CONTEXT_END
from schemas.precision import OutputPrecision
from schemas.table import Table, column

KEY_AND_TEXT = (
    column("chunk_id", StringType(), "UUID made of library, doc_id, text_hash and occurrence; the primary key"),
    column("doc_id", StringType(), "id of the document in the source"),
    column("chunk_index", IntegerType(), "position of the chunk in its document, from 0"),
    column("char_start", IntegerType(), "first character of the chunk in the document's text, from 0, in code points"),
    column("char_end", IntegerType(), "character after the chunk's last one, in code points"),
    column("text", StringType(), "text of the chunk, without the model's prompt"),
    column(
        "text_hash", StringType(), "SHA-256 (hex) of what the model sees of the chunk, without its prompt, in UTF-8"
    ),
    column("token_count", IntegerType(), "tokens of the chunk, prompt and special tokens included, before truncation"),
    column("truncated", BooleanType(), "whether the model saw only the beginning of the chunk"),
)
# Only in spaces whose chunks have a context.
CONTEXT = column("context", StringType(), "what the model sees before the text: title, headings or other columns")
# Only in spaces whose chunking rule knows headings.
HEADINGS = column("headings", ArrayType(StringType()), "headings that the chunk stands under, the outermost first")
# Only in spaces whose source is files that are parsed.
PAGE_START = column(
    "page_start", IntegerType(), "page, slide or sheet that the chunk begins on, from 1; null in files without"
)
PAGE_END = column("page_end", IntegerType(), "page, slide or sheet that the chunk ends on")
PAGE_FIELDS = (PAGE_START, PAGE_END)
RUN = column("run_id", StringType(), "run that last wrote this row")


def vectors_table(
    payload: Sequence[StructField] = (),
    precision: OutputPrecision = "float32",
    optional: Sequence[StructField] = (),
) -> Table:
    """Describes the vectors of one space: one row for each chunk of each embedded document.

    Args:
        payload: The source's payload columns, which keep their own names.
        precision: The storage format of embeddings.
        optional: Which of `CONTEXT`, `HEADINGS` and `PAGE_FIELDS` the space has, in this order.

    Returns:
        The table.
    """
    fields = [
        *KEY_AND_TEXT,
        *optional,
        *(column(field.name, field.dataType, "payload, copied from the source") for field in payload),
        RUN,
        column("embedding", embedding_type(precision), "embedding of the chunk"),
    ]
    what = "One row for each chunk of each embedded document, with its embedding"
    return Table("vectors", what, StructType(fields), frozenset(field.name for field in payload))


def model_text(has_context: bool = True) -> Column:
    """Builds what the model sees of a chunk, without its prompt: context, if there is one, and text.

    Args:
        has_context: Whether the column `context` is the chunk's own, as it is of all chunks in flight. In `vectors` of
            a space without contexts it may be a payload column.

    Returns:
        The text that `text_hash` is of.
    """
    return F.concat_ws(CONTEXT_END, *([CONTEXT.name] if has_context else []), "text")


def embedding_type(precision: OutputPrecision) -> ArrayType:
    """Returns array<float>, or array<tinyint> with one byte per number (int8) or per eight numbers (binary)."""
    return ArrayType(FloatType() if precision == "float32" else ByteType())
