"""Spark properties that make small tables fast: for tests, and for tools that run for hours."""

PROPERTIES = {
    "spark.sql.shuffle.partitions": "2",
    # For a handful of rows, compiling a step takes longer than interpreting it.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.databricks.delta.snapshotPartitions": "1",
    # Steps here end before adaptive execution has planned the next one.
    "spark.sql.adaptive.enabled": "false",
    # Descriptions of plans, which nobody reads here, and checks of Spark's own rules.
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.lightweightPlanChangeValidation": "false",
}
# Hadoop files on a local disk without a `.crc` next to each. For every new file, Hadoop starts one or two processes to
# set permissions, and checksum files double their number.
NO_CHECKSUM_FILES = {
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "spark.hadoop.fs.AbstractFileSystem.file.impl": "org.apache.hadoop.fs.local.RawLocalFs",
}
# Only the first compiler: its code is good enough for a handful of rows and is ready at once. It needs room for all of
# Spark, because it stops for good when the default of 48 MB is full.
FIRST_COMPILER = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=512m"
# For a process that lives for a minute.
SHORT_LIVED = {**PROPERTIES, "spark.driver.extraJavaOptions": FIRST_COMPILER}
# For a session with many tables: Delta keeps the log of each in memory, and the default collector then never rests.
COLLECTOR = "-XX:+UseParallelGC"
# For a session that lives for several minutes, long enough for the second compiler to pay off.
LONG_LIVED = {**PROPERTIES, "spark.driver.memory": "6g", "spark.driver.extraJavaOptions": COLLECTOR}
