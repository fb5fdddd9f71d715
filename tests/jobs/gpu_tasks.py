"""Loads the stand-in model in tasks of a cluster of two workers with an invented GPU each; prints what each task had.

Usage: gpu_tasks.py SCRIPT, which tells the address of a worker's GPU.
"""

import json
import os
import sys
import time
from collections.abc import Iterator

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import SparkSession

from spark_jobs.runtime.inference import inference_profile
from spark_jobs.settings.sections import InferenceSettings
from tests.support.small_tables import FIRST_COMPILER
from udfs.embed import _task_encoder
from udfs.models.source import describe_model
from udfs.specs import InferenceSpec

TASKS, SECONDS = 8, 0.3
PROPERTIES = {
    "spark.worker.resource.gpu.amount": "1",
    "spark.executor.resource.gpu.amount": "1",
    "spark.worker.resource.gpu.discoveryScript": sys.argv[1],
    # Small enough that other stages use every core.
    "spark.task.resource.gpu.amount": "0.01",
    "spark.executor.cores": "2",
    "spark.executor.memory": "512m",
    "spark.python.factory.idleWorkerMaxPoolSize": "1",
    "spark.driver.extraJavaOptions": FIRST_COMPILER,
    "spark.executor.extraJavaOptions": FIRST_COMPILER,
    "spark.ui.enabled": "false",
    "spark.log.level": "OFF",
}


def main() -> None:
    spec = InferenceSpec(model=describe_model("fake:8"), device="auto")

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        began, context = time.time(), TaskContext.get()
        assert context is not None
        encoder = _task_encoder(spec)
        time.sleep(SECONDS)
        for _ in batches:
            pass
        yield pa.RecordBatch.from_pylist(
            [
                {
                    "addresses": ",".join(context.resources()["gpu"].addresses),
                    "device": encoder.device,
                    "model": f"{os.getpid()} {id(encoder)}",
                    "began": began,
                    "ended": time.time(),
                }
            ]
        )

    builder = SparkSession.builder.master("local-cluster[2,2,1024]")
    spark = builder.config(map=PROPERTIES).getOrCreate()
    profile = inference_profile(spark, InferenceSettings())
    columns = "addresses string, device string, model string, began double, ended double"
    rows = spark.range(0, TASKS, 1, TASKS).mapInArrow(task, columns, profile=profile).collect()
    print(json.dumps([row.asDict() for row in rows]))
    spark.stop()


if __name__ == "__main__":
    main()
