"""`documents`: the files of a folder as they were parsed, which is what runs of such a library read as their source."""

from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from schemas.plan import REFUSED
from schemas.table import Table, column

DOCUMENTS = Table(
    "documents",
    "One row for each file of the library's folder: what was parsed from it, and by which it is known again",
    StructType(
        [
            column("path", StringType(), "path below the folder, which is the document's id"),
            column(
                "content_hash", StringType(), "SHA-256 (hex) of the file's bytes; null where it is too large to read"
            ),
            column("size", LongType(), "bytes of the file"),
            column("modified", TimestampType(), "when the file was written, as its file system says"),
            column("is_racy", BooleanType(), "whether it was written so late that a later change may not show"),
            column("parser", StringType(), "version of the parser, and its limits where they decided"),
            column("parsed_by", StringType(), "run that parsed this content, of this space or of another one"),
            column("run_id", StringType(), "run that last read the file"),
            column("mime_type", StringType(), "type of the file, decided by its content"),
            column("title", StringType(), "title of the document, where it has one"),
            column("author", StringType(), "author of the document, where it names one"),
            column("language", StringType(), "language of the document, where it is known"),
            column(
                "text", StringType(), "text with headings, lists and tables as in Markdown; null where it is refused"
            ),
            column("characters", LongType(), "length of the text"),
            column("pages", ArrayType(IntegerType()), "where in the text each page begins, in characters"),
            column("page_count", IntegerType(), "number of pages; null for types without pages"),
            column("metadata", MapType(StringType(), StringType()), "what else the file says of itself"),
            column("_refused", REFUSED, "why the file could not be parsed: reason and detail; null where it was"),
        ]
    ),
)
# A file of the folder, as its file system tells of it. Spark opens it by its `uri`, where it is not null.
LISTED = StructType(
    [
        StructField("path", StringType()),
        StructField("size", LongType()),
        StructField("modified", TimestampType()),
        StructField("uri", StringType()),
    ]
)
# What a worker returns of a file that it has read, or found gone; its text only where its content is not known yet.
PARSED = StructType(
    [
        *(
            StructField(field.name, field.dataType)
            for field in DOCUMENTS.schema
            if field.name not in ("parsed_by", "run_id")
        ),
        StructField("is_known", BooleanType()),
        StructField("is_gone", BooleanType()),
    ]
)
# What a chunk's pages are found by, beside its place in the text.
PAGES = "pages"
# Columns that may be copied to every chunk.
PAYLOAD = ("path", "title", "author", "page_count", "mime_type", "language", "modified", "size", "metadata")
