"""Spark properties that make short work of small tables: for tests, and for what runs them for hours."""

PROPERTIES = {
    "spark.sql.shuffle.partitions": "2",
    # Compiling a step takes longer than interpreting it for a handful of rows.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.databricks.delta.snapshotPartitions": "1",
    # Steps here are over before adaptive execution has planned the next.
    "spark.sql.adaptive.enabled": "false",
    # Descriptions of plans, which nobody reads here, and checks of Spark's own rules.
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.lightweightPlanChangeValidation": "false",
}
# Hadoop's files on a local disk without a `.crc` beside each. For every file it makes it starts a process or two that
# set permissions, and the checksums double them.
NO_CHECKSUM_FILES = {
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "spark.hadoop.fs.AbstractFileSystem.file.impl": "org.apache.hadoop.fs.local.RawLocalFs",
}
# The first compiler alone: its code is good enough for a handful of rows, and ready at once. It needs room for all of
# Spark, or it stops for good when the default of 48 MB is full.
FIRST_COMPILER = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=512m"
# Of a process that lives for a minute.
SHORT_LIVED = {**PROPERTIES, "spark.driver.extraJavaOptions": FIRST_COMPILER}
# Of a session that sees many tables: Delta remembers the log of each, and the default collector never rests then.
COLLECTOR = "-XX:+UseParallelGC"
# Of a session that lives for several minutes, for which the second compiler pays too.
LONG_LIVED = {**PROPERTIES, "spark.driver.memory": "6g", "spark.driver.extraJavaOptions": COLLECTOR}
