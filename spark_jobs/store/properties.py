"""Every Delta and Spark property that the store sets, each with its reason."""

from schemas.documents import DOCUMENTS
from schemas.format import FORMAT, FORMAT_PROPERTY

_EVERY_TABLE = {
    # Which version's tables these are; see `schemas.format`.
    FORMAT_PROPERTY: str(FORMAT),
    # A changed row is only marked, and the rows next to it stay where they are.
    "delta.enableDeletionVectors": "true",
    # The shuffle before each write would move every vector once more.
    "delta.autoOptimize.optimizeWrite": "false",
    # Compaction would run after a write, while the inference machines wait.
    "delta.autoOptimize.autoCompact": "false",
}
_DOCUMENTS = {
    # What a run embeds of the files that it has parsed is found through it.
    "delta.enableChangeDataFeed": "true",
    # Statistics of texts would put their beginnings into the log.
    "delta.dataSkippingStatsColumns": "path,content_hash,size,run_id",
}
_VECTORS = {
    # Exports and vector indexes follow the table through it.
    "delta.enableChangeDataFeed": "true",
    # Ids and hashes are looked up. Statistics of text and vectors would only make the log longer.
    "delta.dataSkippingStatsColumns": "chunk_id,doc_id,text_hash",
    # Vectors do not repeat: a dictionary is built, found useless and thrown away.
    "parquet.enable.dictionary#embedding.list.element": "false",
}
# Parquet splits floats into streams of like bytes. zstd halves them if vectors come from half precision.
_SPLIT = {"parquet.enable.bytestreamsplit": "true"}
# Spark's vectorized Parquet reader (up to 4.2) refuses byte-stream-split columns; the row reader knows them.
ROW_READER = "spark.sql.parquet.enableNestedColumnVectorizedReader"
SESSION = {
    # Snappy, the default, finds nothing to compress in floats.
    "spark.sql.parquet.compression.codec": "zstd",
    ROW_READER: "false",
    # A missing or broken file must stop a run: skipping it would look like removed documents.
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    # Delta would repeat the list of a small table's files beside every commit, at the price of a Spark job or two. It
    # never reads that list.
    "spark.databricks.delta.allFilesInCrc.enabled": "false",
}
# Set for the duration of a run over few documents: for so few rows, compiling a step of a query takes longer than
# interpreting it. Apart from inference, a first load of 10,000 documents took 94 instead of 119 processor seconds with
# the first of these, and 63 instead of 81 with the second. One of 120,000 took nine seconds more with both.
_FEW_ROWS = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
_FEW = 50_000
# Adaptive execution makes a job of each stage, above all of those that read Delta's log.
_ONE_STAGE = {"spark.sql.adaptive.enabled": "false"}
# Set for the duration of one commit: application id, number, and who commits (recorded in the table's history).
TRANSACTION = (
    "spark.databricks.delta.write.txnAppId",
    "spark.databricks.delta.write.txnVersion",
    "spark.databricks.delta.commitInfo.userMetadata",
)
# Set for the duration of a MERGE whose source is held in memory. Delta copies other sources, because they could yield
# other rows when they are read again.
UNCOPIED_SOURCE = {"spark.databricks.delta.merge.materializeSource": "none"}
# Statistics of texts would put their beginnings into the log, which outlives the files that VACUUM removes. Only slices
# are looked up.
_IN_FLIGHT = {
    "plan": {"delta.dataSkippingStatsColumns": "slice_key"},
    "staged_chunks": {"delta.dataSkippingStatsColumns": "run_id,slice_number"},
    "staged_vectors": {"delta.dataSkippingStatsColumns": "run_number,slice_number"},
}
# Set for the duration of a MERGE whose source are files that workers parse. Delta would otherwise be free to parse them
# twice.
COPIED_SOURCE = {"spark.databricks.delta.merge.materializeSource": "all"}
# Set while Spark hands whole files to workers: a batch of rows is held in memory at once.
ONE_FILE_A_BATCH = {"spark.sql.execution.arrow.maxRecordsPerBatch": "1"}
# How long Delta itself keeps removed files; it refuses anything shorter.
RETENTION_HOURS = 168
# VACUUM lists folders with 10,000 tasks by default. These tables have no partitions, so only a few folders each.
LISTING = {"spark.sql.sources.parallelPartitionDiscovery.parallelism": "8"}
# Set for the duration of one VACUUM that was asked to keep files for less time.
UNCHECKED_RETENTION = {"spark.databricks.delta.retentionDurationCheck.enabled": "false"}


def for_rows(documents: int) -> dict[str, str]:
    """Chooses the properties of a run by the number of documents in its source; none if there are many."""
    return _FEW_ROWS if documents <= _FEW else {}


def for_question(per_document: bool) -> dict[str, str]:
    """Chooses the properties of a single question.

    Its one scan spends its time on decoding vectors, which no compiled step makes faster. Only the hits of documents
    are shuffled, where adaptive execution keeps the number of tasks low.
    """
    return _FEW_ROWS if per_document else {**_FEW_ROWS, **_ONE_STAGE}


def file_sizes(megabytes: int) -> dict[str, str]:
    """Builds the properties that set the file size OPTIMIZE aims for."""
    size = str(megabytes * 1024 * 1024)
    return {
        # Delta's default of 1 GB is slow to fetch for a reader that wants a few rows.
        "spark.databricks.delta.optimize.maxFileSize": size,
        # Smaller files are combined. A single file stays as it is.
        "spark.databricks.delta.optimize.minFileSize": size,
    }


def table_properties(table: str, vector_encoding: str) -> dict[str, str]:
    """Chooses the properties of a new table; `vector_encoding` is `byte_stream_split` or `plain`."""
    if table == DOCUMENTS.name:
        return {**_EVERY_TABLE, **_DOCUMENTS}
    if table != "vectors":
        return {**_EVERY_TABLE, **_IN_FLIGHT.get(table, {})}
    return {**_EVERY_TABLE, **_VECTORS, **(_SPLIT if vector_encoding == "byte_stream_split" else {})}
