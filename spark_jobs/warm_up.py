"""Loading the model in the workers while the driver still plans."""

from pyspark.sql import SparkSession

from spark_jobs.preflight import Checked
from spark_jobs.resources import inference_profile
from spark_jobs.session import task_slots
from spark_jobs.settings import Settings
from udfs.embed import load_arrow


def load_in_workers(spark: SparkSession, settings: Settings, checked: Checked) -> None:
    """Loads the model in as many workers as inference will use; these keep it for the run.

    Args:
        spark: The live session.
        settings: The whole configuration.
        checked: What pre-flight found.
    """
    workers = min(task_slots(spark), checked.documents)
    profile = inference_profile(spark, settings.inference)
    rows = spark.range(workers, numPartitions=workers)
    rows.mapInArrow(load_arrow(checked.inference), "id long", profile=profile).write.format("noop").mode(
        "overwrite"
    ).save()
