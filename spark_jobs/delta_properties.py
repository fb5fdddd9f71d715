"""Every Delta and Spark property that the store sets, each with its reason."""

_EVERY_TABLE = {
    # A row that changes is marked, and the rows beside it stay where they are.
    "delta.enableDeletionVectors": "true",
    # Its shuffle before each write would move every vector once more.
    "delta.autoOptimize.optimizeWrite": "false",
    # It would run after a write, while the inference machines wait.
    "delta.autoOptimize.autoCompact": "false",
}
_VECTORS = {
    # A vector index follows the table through it.
    "delta.enableChangeDataFeed": "true",
    # Ids and hashes are looked up; text and vectors only make the log longer.
    "delta.dataSkippingStatsColumns": "chunk_id,doc_id,text_hash",
    # Vectors do not repeat: a dictionary is built, found useless and thrown away.
    "parquet.enable.dictionary#embedding.list.element": "false",
}
# Parquet splits floats into streams of like bytes, which zstd halves where vectors come from half precision.
_SPLIT = {"parquet.enable.bytestreamsplit": "true"}

SESSION = {
    # Snappy, the default, finds nothing to compress in floats.
    "spark.sql.parquet.compression.codec": "zstd",
    # Spark's vectorised Parquet reader (up to 4.2) refuses byte-stream-split columns; the row reader knows them.
    "spark.sql.parquet.enableNestedColumnVectorizedReader": "false",
    # A file that is gone or broken must stop a run: passing over it would look like removed documents.
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
}
# Set for the length of one commit: application id, number, and who commits (kept in the table's history).
TRANSACTION = (
    "spark.databricks.delta.write.txnAppId",
    "spark.databricks.delta.write.txnVersion",
    "spark.databricks.delta.commitInfo.userMetadata",
)


def table_properties(table: str, vector_encoding: str) -> dict[str, str]:
    """Chooses the properties of a new table.

    Args:
        table: Last part of its name.
        vector_encoding: `byte_stream_split` or `plain`.

    Returns:
        Properties by name.
    """
    if table != "vectors":
        return dict(_EVERY_TABLE)
    return {**_EVERY_TABLE, **_VECTORS, **(_SPLIT if vector_encoding == "byte_stream_split" else {})}
