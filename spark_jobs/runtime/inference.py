"""Embedding rows on the executors; all jobs embed through it, each task with a whole GPU where there are any."""

from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import DataFrame, SparkSession

from schemas.worker_rows import inference_schema
from spark_jobs.settings.sections import InferenceSettings
from udfs.embed import embed_arrow
from udfs.specs import InferenceSpec

_GPUS = "spark.executor.resource.gpu.amount"
_CORES = "spark.executor.cores"
# Elsewhere a profile fails when the stage starts: local sessions have no executors to choose among.
_MASTERS = ("spark://", "local-cluster[", "yarn", "k8s://")


def embed_rows(rows: DataFrame, inference: InferenceSpec, settings: InferenceSettings) -> DataFrame:
    """Embeds rows, in the partitions that they come in.

    Args:
        rows: Columns text_hash and text; text_hash is any string that tells rows apart.
        inference: The model and how it runs.
        settings: Whether tasks ask for a GPU of their own.

    Returns:
        Columns of `schemas.worker_rows.inference_schema`, in any order.
    """
    return rows.mapInArrow(
        embed_arrow(inference),
        inference_schema(inference.model.precision),
        profile=inference_profile(rows.sparkSession, settings),
    )


def inference_profile(spark: SparkSession, inference: InferenceSettings) -> ResourceProfile | None:
    """Describes what one inference task needs.

    Other stages then may use every core beside a small share of a GPU (`spark.task.resource.gpu.amount`), and still one
    model is loaded for each GPU.

    Args:
        spark: The live session.
        inference: Whether a profile is wanted.

    Returns:
        A profile of one GPU and the executor's cores for each task; None where executors have no GPUs, or the cluster
        cannot take profiles.
    """
    gpus = float(spark.conf.get(_GPUS, None) or 0)
    master = spark.conf.get("spark.master", None) or ""
    if inference.resource_profile == "off" or gpus < 1 or not master.startswith(_MASTERS):
        return None
    cores = max(1, int(spark.conf.get(_CORES, None) or 1) // int(gpus))
    needed = TaskResourceRequests().cpus(cores).resource("gpu", 1)
    profile: ResourceProfile = ResourceProfileBuilder().require(needed).build
    return profile
