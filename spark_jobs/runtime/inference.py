"""Embeds rows on the executors, for every job; if there are GPUs, each task gets a whole one."""

from pathlib import Path

from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.worker_rows import inference_schema
from spark_jobs.runtime.properties import read_property
from spark_jobs.settings.sections import InferenceSettings
from udfs.embed import embed_arrow
from udfs.specs import InferenceSpec

_GPUS = "spark.executor.resource.gpu.amount"
_CORES = "spark.executor.cores"
# With other masters a profile fails when the stage starts: local sessions have no executors to choose from.
_MASTERS = ("spark://", "local-cluster[", "yarn", "k8s://")


def embed_rows(
    rows: DataFrame, inference: InferenceSpec, settings: InferenceSettings, told: Path | None = None
) -> DataFrame:
    """Embeds rows in their existing partitions.

    Args:
        rows: Columns text_hash and text; text_hash is any string that tells rows apart.
        inference: The model and how it runs.
        settings: Whether each task requests its own GPU.
        told: File in which tasks count their tokens; None for none.

    Returns:
        Columns of `schemas.worker_rows.inference_schema`, in any order.
    """
    return rows.mapInArrow(
        embed_arrow(inference, told),
        inference_schema(inference.model.precision),
        profile=inference_profile(rows.sparkSession, settings),
    )


def load_on_workers(spark: SparkSession, inference: InferenceSpec, settings: InferenceSettings, tasks: int) -> None:
    """Has workers load a model, in tasks without texts; the tasks that embed find it there.

    Args:
        spark: A live session.
        inference: The model and how it runs.
        settings: Whether each task requests its own GPU.
        tasks: Number of tasks, each in a worker of its own if they run at the same time.
    """
    # Not an empty relation, which Spark would answer without any task.
    none = spark.range(0, tasks, 1, tasks).where(F.col("id") < 0)
    columns = (F.col("id").cast("string").alias(name) for name in ("text_hash", "text"))
    embed_rows(none.select(*columns), inference, settings).collect()


def inference_profile(spark: SparkSession, inference: InferenceSettings) -> ResourceProfile | None:
    """Describes what one inference task needs: a GPU and its share of the executor's cores.

    Other stages can then use every core with a small share of a GPU each (`spark.task.resource.gpu.amount`), while only
    one model is loaded for each GPU. None if the settings turn the profile off, executors have no GPUs, or the
    cluster does not support profiles.
    """
    gpus = float(read_property(spark, _GPUS) or 0)
    master = read_property(spark, "spark.master") or ""
    if inference.resource_profile == "off" or gpus < 1 or not master.startswith(_MASTERS):
        return None
    cores = max(1, int(read_property(spark, _CORES) or 1) // int(gpus))
    needed = TaskResourceRequests().cpus(cores).resource("gpu", 1)
    profile: ResourceProfile = ResourceProfileBuilder().require(needed).build
    return profile
