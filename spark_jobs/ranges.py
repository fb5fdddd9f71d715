"""The ranges by which a space stores its numbers as int8: measured once, on a sample, and kept with the space."""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.errors import InputError
from schemas.inference import inference_schema
from spark_jobs.preflight import Checked
from spark_jobs.sampling import sample_chunks
from spark_jobs.settings import Settings
from udfs.embed import embed_arrow
from udfs.quantization import Ranges

# Of so many texts the lowest and highest of each number hardly move any more.
_TEXTS = 2048


def find_ranges(settings: Settings, checked: Checked) -> Ranges:
    """Embeds a sample of the library and takes the lowest and highest value of each number.

    Args:
        settings: The whole configuration.
        checked: What pre-flight found.

    Returns:
        The ranges.

    Raises:
        InputError: The library has no text to measure them on.
    """
    inference = checked.inference
    texts = sample_chunks(settings, checked.source, checked.chunking, inference.model, _TEXTS)
    hashed = texts.select(F.sha2("text", 256).alias("text_hash"), "text").repartition(1)
    exact = replace(inference, model=replace(inference.model, precision="float32"))
    rows: DataFrame = hashed.mapInArrow(embed_arrow(exact), inference_schema()).where(F.col("reason").isNull())
    found = (
        rows.select(F.posexplode("embedding").alias("number", "value"))
        .groupBy("number")
        .agg(F.min("value").alias("low"), F.max("value").alias("high"))
        .orderBy("number")
        .collect()
    )
    if not found:
        raise InputError("model.precision int8 needs texts to measure its ranges on, and no text could be embedded")
    return tuple(row.low for row in found), tuple(row.high for row in found)
