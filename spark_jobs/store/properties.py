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
# Set for the length of a run over few documents: to compile a step of a query takes longer than to interpret it for so
# few rows. Beside its inference a first load of 10,000 documents took 94 instead of 119 processor seconds by the first
# of these, 63 instead of 81 by the second; one of 120,000 took nine seconds more by both.
_FEW_ROWS = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
_FEW = 50_000
# Set for the length of one commit: application id, number, and who commits (kept in the table's history).
TRANSACTION = (
    "spark.databricks.delta.write.txnAppId",
    "spark.databricks.delta.write.txnVersion",
    "spark.databricks.delta.commitInfo.userMetadata",
)
# The log would keep the beginnings of texts, and outlives the files that VACUUM removes. Slices are what is looked up.
_IN_FLIGHT = {
    "plan": {"delta.dataSkippingStatsColumns": "slice_key"},
    "staged_chunks": {"delta.dataSkippingStatsColumns": "run_id,slice_number"},
}
# What Delta itself keeps removed files for, and refuses to go below.
RETENTION_HOURS = 168
# VACUUM lists folders with 10,000 tasks by default; our tables have no partitions, hence a handful of folders each.
LISTING = {"spark.sql.sources.parallelPartitionDiscovery.parallelism": "8"}
# Set for the length of one VACUUM that was asked to go below all the same.
UNCHECKED_RETENTION = {"spark.databricks.delta.retentionDurationCheck.enabled": "false"}


def for_rows(documents: int) -> dict[str, str]:
    """Chooses how steps of queries are run.

    Args:
        documents: Documents of the source.

    Returns:
        Properties by name; none where there are many.
    """
    return _FEW_ROWS if documents <= _FEW else {}


def file_sizes(megabytes: int) -> dict[str, str]:
    """Sets what OPTIMIZE makes of files.

    Args:
        megabytes: Size that files should have.

    Returns:
        Properties by name.
    """
    size = str(megabytes * 1024 * 1024)
    return {
        # Delta's default of 1 GB is slow to fetch for a reader that wants a few rows.
        "spark.databricks.delta.optimize.maxFileSize": size,
        # Whatever is smaller is put together with others; what stands alone already stays as it is.
        "spark.databricks.delta.optimize.minFileSize": size,
    }


def table_properties(table: str, vector_encoding: str) -> dict[str, str]:
    """Chooses the properties of a new table.

    Args:
        table: Last part of its name.
        vector_encoding: `byte_stream_split` or `plain`.

    Returns:
        Properties by name.
    """
    if table != "vectors":
        return {**_EVERY_TABLE, **_IN_FLIGHT.get(table, {})}
    return {**_EVERY_TABLE, **_VECTORS, **(_SPLIT if vector_encoding == "byte_stream_split" else {})}
